"""The hub's HTTP/1.1 server for callers: parses, checks and orders requests, writes answers; decides no more."""
