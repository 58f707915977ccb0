"""Python servers that are libraries: `python -m tests.differential.native NAME PORT` runs one of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

HOST = "127.0.0.1"


def run_aiohttp(port: int) -> None:
    from aiohttp import web

    from tests.differential.echo import answer, ledger

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        case, length = request.headers.get("X-Case", ""), None
        body = b""
        try:
            body = await request.read()
            length = len(body)
        finally:
            ledger.write(request.headers.get("X-Request-Id", ""), request.method, request.raw_path, case, length)
        return web.Response(body=b"ok", headers=dict(answer(request.raw_path, case, body)))

    async def serve() -> None:
        import asyncio

        runner = web.ServerRunner(web.Server(handle))
        await runner.setup()
        await web.TCPSite(runner, HOST, port).start()
        await asyncio.Event().wait()

    import asyncio

    asyncio.run(serve())


def run_tornado(port: int) -> None:
    import asyncio

    import tornado.web

    from tests.differential.echo import answer, ledger

    class Echo(tornado.web.RequestHandler):
        SUPPORTED_METHODS = (*tornado.web.RequestHandler.SUPPORTED_METHODS, "PURGE")  # type: ignore[assignment]

        def echo(self, *_: str) -> None:
            request = self.request
            case, target = request.headers.get("X-Case", ""), request.uri or ""
            method = request.method or ""
            ledger.write(request.headers.get("X-Request-Id", ""), method, target, case, len(request.body))
            for name, value in answer(target, case, request.body):
                self.set_header(name, value)
            self.finish(b"" if method == "HEAD" else b"ok")

        get = post = put = patch = delete = options = head = echo

    async def serve() -> None:
        tornado.web.Application([(r"(.*)", Echo)]).listen(port, HOST)
        await asyncio.Event().wait()

    asyncio.run(serve())


def run_twisted(port: int) -> None:
    from twisted.internet import reactor
    from twisted.web.resource import Resource
    from twisted.web.server import Request, Site

    from tests.differential.echo import answer, ledger

    class Echo(Resource):
        isLeaf = True

        def render(self, request: Request) -> bytes:
            body = request.content.read()
            case = request.getHeader("X-Case") or ""
            target, method = request.uri.decode("latin-1"), request.method.decode("latin-1")
            ledger.write(request.getHeader("X-Request-Id") or "", method, target, case, len(body))
            for name, value in answer(target, case, body):
                request.setHeader(name, value)
            return b"" if method == "HEAD" else b"ok"

    loop: Any = reactor
    loop.listenTCP(port, Site(Echo()), interface=HOST)
    loop.run()


def run_waitress(port: int) -> None:
    import waitress

    from tests.differential.echo import wsgi

    waitress.serve(wsgi, host=HOST, port=port, threads=16)


def run_cheroot(port: int) -> None:
    from cheroot.wsgi import Server

    from tests.differential.echo import wsgi

    Server((HOST, port), wsgi, numthreads=16, timeout=30).start()


def run_werkzeug(port: int) -> None:
    from werkzeug.serving import WSGIRequestHandler, make_server

    from tests.differential.echo import wsgi

    class Persistent(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, *_: object) -> None:
            """The ledger is the log."""

    make_server(HOST, port, wsgi, threaded=True, request_handler=Persistent).serve_forever()


RUNNERS: dict[str, Callable[[int], None]] = {
    "aiohttp": run_aiohttp,
    "cheroot": run_cheroot,
    "tornado": run_tornado,
    "twisted": run_twisted,
    "waitress": run_waitress,
    "werkzeug": run_werkzeug,
}

if __name__ == "__main__":
    RUNNERS[sys.argv[1]](int(sys.argv[2]))
