"""nginx as upstream and as a proxy hop: its configurations, and the command that runs one of them."""

from __future__ import annotations

import os
from pathlib import Path

from tests.bench.machine import tool

_FRAME = """\
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
worker_rlimit_nofile 16384;
{user}events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{content}
}}
"""

_UPSTREAM = """\
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /api/1k {{ default_type application/json; return 200 '{answer}'; }}
        location /api/files/ {{ default_type application/octet-stream; alias {files}/; }}
    }}"""

POOL = 16
"""Upstream connections that a hop keeps, as in the example of nginx's manual; `--nginx-keepalive` changes it."""

# Buffers stay on, as anyone would run it, but in memory only: temporary files would measure the disk.
# They are larger than the default of 8 x 4 KB, which makes downloads slower.
_PROXY = """\
    upstream api {{ server {api}; keepalive {pool}; keepalive_requests 1000000000; keepalive_timeout 1h; }}
    upstream sink {{ server {sink}; keepalive {pool}; keepalive_requests 1000000000; keepalive_timeout 1h; }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_request_buffering off;
    proxy_max_temp_file_size 0;
    proxy_buffers 8 64k;
    proxy_busy_buffers_size 128k;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ proxy_pass http://api; }}
        location /sink/ {{ proxy_pass http://sink; }}
    }}"""


def upstream(*, port: int, files: Path, answer: str) -> str:
    """The body of the upstream's configuration: `answer` at /api/1k, `files` under /api/files/."""
    return _UPSTREAM.format(port=port, files=files, answer=answer)


def proxy(*, port: int, api: str, sink: str) -> str:
    """The body of one proxy hop's configuration."""
    return _PROXY.format(port=port, api=api, sink=sink, pool=POOL)


def command(folder: Path, content: str) -> list[str]:
    """Write the configuration into `folder` and return the command that runs nginx on it."""
    folder.mkdir(parents=True, exist_ok=True)
    # As root nginx would give its worker to `nobody`, who cannot read our temporary folder.
    user = "user root;\n" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(_FRAME.format(folder=folder, user=user, content=content))
    return [tool("nginx"), "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]
