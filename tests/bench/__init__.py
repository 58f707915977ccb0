"""What `make bench` runs: every figure beside nginx two-hop and `ssh -R`, in the same run."""
