"""`python -m tunnel_hub` is `tunnel-hub`."""

from tunnel_hub.cli import main

main(prog_name="tunnel-hub")
