"""`python -m tunnel_agent` is `tunnel-agent`."""

from tunnel_agent.cli import main

main(prog_name="tunnel-agent")
