"""curl for machines that have none, as far as the pages of docs/ need it."""

STAND_IN = '''#!{python}
"""curl, as far as the pages need it: -s, -f, -H."""
import sys, urllib.error, urllib.request
fields, fail, url = {{}}, False, ""
arguments = iter(sys.argv[1:])
for argument in arguments:
    if argument == "-H":
        name, _, value = next(arguments).partition(": ")
        fields[name] = value
    elif argument.startswith("-"):
        assert set(argument[1:]) <= set("sf"), argument
        fail = fail or "f" in argument
    else:
        url = argument
opener = urllib.request.build_opener(urllib.request.ProxyHandler({{}}))
try:
    answer = opener.open(urllib.request.Request(url, headers=fields), timeout=10)
except urllib.error.HTTPError as error:
    if fail:
        sys.exit(22)
    answer = error
except OSError:
    sys.exit(7)
sys.stdout.write(answer.read().decode())
'''
"""A program's text; {python} is the interpreter to run it with."""
