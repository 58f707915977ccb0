"""Builds what is given to operators: wheel, sdist, wheelhouse, .deb packages, SBOMs (`make dist`)."""
