"""Debian's servers: a configuration each, which answers every request itself and logs it as the ledger asks."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

_NGINX = """\
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
{user}events {{ worker_connections 512; }}
http {{
    log_format ledger '$http_x_request_id $request_method $request_uri $http_x_case -';
    access_log {ledger} ledger;
    keepalive_timeout 1h;
    keepalive_requests 1000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            add_header X-Case $http_x_case always;
            add_header X-Target $request_uri always;
            return 200 ok;
        }}
    }}
}}
"""

_APACHE = """\
ServerRoot {folder}
ServerName upstream.internal
Listen 127.0.0.1:{port}
PidFile {folder}/apache.pid
ErrorLog {folder}/error.log
{user}LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule headers_module /usr/lib/apache2/modules/mod_headers.so
LoadModule rewrite_module /usr/lib/apache2/modules/mod_rewrite.so
LogFormat "%{{X-Request-Id}}i %r %{{X-Case}}i -" ledger
CustomLog {ledger} ledger
DocumentRoot {folder}
KeepAliveTimeout 600
MaxKeepAliveRequests 0
AllowEncodedSlashes NoDecode
RewriteEngine On
RewriteRule ^ /echo.txt
Header always set X-Case "expr=%{{req:X-Case}}"
<Directory {folder}>
    Require all granted
</Directory>
"""

_LIGHTTPD = """\
server.document-root = "{folder}"
server.bind = "127.0.0.1"
server.port = {port}
server.pid-file = "{folder}/lighttpd.pid"
server.errorlog = "{folder}/error.log"
server.modules = ( "mod_magnet", "mod_accesslog" )
server.max-keep-alive-requests = 0
server.max-keep-alive-idle = 600
accesslog.filename = "{ledger}"
accesslog.format = "%{{X-Request-Id}}i %r %{{X-Case}}i -"
magnet.attract-physical-path-to = ( "{folder}/echo.lua" )
"""

_LUA = """\
lighty.header["X-Case"] = lighty.request["X-Case"]
lighty.content = { "ok" }
return 200
"""

_HAPROXY = """\
global
    maxconn 200
    log stdout len 65535 format raw local0
    tune.http.logurilen 65535
defaults
    mode http
    timeout client 1h
    timeout connect 1s
    timeout server 1s
    timeout http-keep-alive 1h
frontend echo
    bind 127.0.0.1:{port}
    log global
    option http-buffer-request
    option dontlognull
    http-request capture req.hdr(x-request-id) len 100
    http-request capture req.hdr(x-case) len 100
    log-format "%[capture.req.hdr(0)] %[capture.req.method] %[capture.req.uri] %[capture.req.hdr(1)] -"
    http-request return status 200 content-type text/plain string ok hdr X-Case "%[req.hdr(x-case)]"
"""

_H2O = """\
num-threads: 1
listen: {{ host: 127.0.0.1, port: {port} }}
pid-file: {folder}/h2o.pid
error-log: {folder}/error.log
http1-request-timeout: 60
{user}access-log: {{ path: {ledger}, format: "%{{X-Request-Id}}i %r %{{X-Case}}i -" }}
hosts:
  default:
    paths:
      /:
        mruby.handler: |
          Proc.new do |env|
            [200, {{"content-type" => "text/plain", "x-case" => env["HTTP_X_CASE"].to_s}}, ["ok"]]
          end
"""


def _write(folder: Path, name: str, text: str, port: int, ledger: Path, user: str = "") -> Path:
    """Fill in one configuration and return where it stands."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(text.format(folder=folder, port=port, ledger=ledger, user=user if os.geteuid() == 0 else ""))
    return file


def nginx(folder: Path, port: int, ledger: Path) -> list[str]:
    config = _write(folder, "nginx.conf", _NGINX, port, ledger, "user root;\n")
    return ["/usr/sbin/nginx", "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]


def apache2(folder: Path, port: int, ledger: Path) -> list[str]:
    config = _write(folder, "apache.conf", _APACHE, port, ledger, "User www-data\nGroup www-data\n")
    (folder / "echo.txt").write_text("ok")
    for each in (folder, *folder.parents):
        if each.stat().st_uid == os.geteuid() and each != Path("/"):
            each.chmod(each.stat().st_mode | 0o055 if each != Path("/tmp") else each.stat().st_mode)
    return ["/usr/sbin/apache2", "-f", str(config), "-DFOREGROUND"]


def lighttpd(folder: Path, port: int, ledger: Path) -> list[str]:
    config = _write(folder, "lighttpd.conf", _LIGHTTPD, port, ledger)
    (folder / "echo.lua").write_text(_LUA)
    return ["/usr/sbin/lighttpd", "-D", "-f", str(config)]


def haproxy(folder: Path, port: int, ledger: Path) -> list[str]:
    config = _write(folder, "haproxy.cfg", _HAPROXY, port, ledger)
    return ["/bin/sh", "-c", f"exec /usr/sbin/haproxy -db -f '{config}' >>'{ledger}'"]


def h2o(folder: Path, port: int, ledger: Path) -> list[str]:
    config = _write(folder, "h2o.conf", _H2O, port, ledger, "user: root\n")
    return ["/usr/bin/h2o", "-m", "worker", "-c", str(config)]


COMMANDS: dict[str, tuple[str, list[str], Callable[[Path, int, Path], list[str]]]] = {
    "nginx": ("/usr/sbin/nginx", ["-v"], nginx),
    "apache2": ("/usr/sbin/apache2", ["-v"], apache2),
    "lighttpd": ("/usr/sbin/lighttpd", ["-v"], lighttpd),
    "haproxy": ("/usr/sbin/haproxy", ["-v"], haproxy),
    "h2o": ("/usr/bin/h2o", ["-v"], h2o),
}
"""By name: the program, the arguments that make it tell its version, and the command that runs it."""
