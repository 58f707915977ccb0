"""The configuration tables and kinds of value that hub and agent share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from protocol.http.allow import AllowList
from protocol.http.target import EXCEPTIONS
from protocol.ops.apikeys import KeyHash
from protocol.ops.files import File, OwnFile
from protocol.ops.model import Table, as_key, doc
from protocol.ops.tls import file_problem
from protocol.ops.values import Context, HostName, Kind, is_name, quoted, text_of


def parse_path_exception(value: object, _context: Context | None = None) -> str:
    """One of the ambiguities that `protocol.http.target` can be told to let through."""
    text = text_of(value, "text").lower()
    if text not in EXCEPTIONS:
        known = ", ".join(f'"{name}" ({meaning})' for name, meaning in EXCEPTIONS.items())
        raise ValueError(f"{quoted(value)} cannot be allowed; possible are {known}")
    return text


def parse_rule(value: object, _context: Context | None = None) -> str:
    """One line of an allow list; the service's `allow_paths` are looked at later."""
    text = text_of(value, 'a rule such as "GET /nomisapi/**"')
    AllowList.compile([text], frozenset(EXCEPTIONS))
    return text


Rule = Annotated[str, Kind("rule", parse_rule, lambda rule: f'"{rule}"')]
PathException = Annotated[str, Kind("path exception", parse_path_exception, lambda name: f'"{name}"')]


class ServerTls(Table, frozen=True, kw_only=True):
    """[listen.callers_tls] and [listen.agents_tls], for `protocol.ops.tls.server_context`."""

    certificate: Annotated[File, doc("PEM certificate chain, own certificate first", example='"hub.pem"')]
    key: Annotated[File, doc("PEM private key, unencrypted", example='"hub-tls.key"')]
    client_ca: Annotated[
        File | None,
        doc("PEM CAs; when set, clients are asked for a certificate issued by one of them"),
    ] = None
    client_certificates: Annotated[
        Literal["required", "optional"],
        doc('Whether clients must show one; "optional" where they may prove who they are otherwise'),
    ] = "required"

    def check(self, context: Context) -> Iterator[tuple[str, str]]:
        if context.check_files:
            if problem := file_problem(certificate=self.certificate, key=self.key):
                yield "certificate", problem
            if problem := file_problem(ca_file=self.client_ca):
                yield "client_ca", problem


class Log(Table, frozen=True, kw_only=True):
    """[log]"""

    format: Annotated[
        Literal["json", "text"] | None,
        doc("How lines are written; by default text when stderr is a terminal, else json"),
    ] = None
    level: Annotated[Literal["debug", "info", "warning", "error"], doc("The least severe events to log")] = "info"
    query_strings: Annotated[
        bool,
        doc("Write query strings into the access log; they may carry personal data"),
    ] = False


class Audit(Table, frozen=True, kw_only=True):
    """[audit], for `protocol.ops.audit.make`"""

    file: Annotated[
        OwnFile | None,
        doc(
            "Where sessions, refusals, reloads and switches are written as a chain of lines, which `audit verify` "
            "follows. By default there is no audit",
            example='"audit.jsonl"',
        ),
    ] = None


class Operator(Table, frozen=True, kw_only=True):
    """[admin.operators.NAME]"""

    keys: Annotated[
        tuple[KeyHash, ...],
        doc(
            "Hashes of the operator's keys, as `tunnel-hub api-key` prints them; two while one is replaced",
            example='["sha256:HEX"]',
            at_least=1,
            at_most=16,
        ),
    ]


class Admin(Table, frozen=True, kw_only=True):
    """[admin], for `protocol.ops.console.operators`; the agent's has `listen` besides"""

    hosts: Annotated[
        tuple[HostName, ...],
        doc(
            "Names under which browsers may open the status page, besides IP addresses and localhost: a page "
            "elsewhere could give its own name this address",
            example='["hub-1.internal"]',
        ),
    ] = ()
    operators: Annotated[
        dict[str, Operator],
        doc("Who may switch and drain on the status page, by name; without any it is for reading only"),
    ] = msgspec.field(default_factory=dict)

    def check(self, context: Context) -> Iterator[tuple[str, str]]:
        del context
        owners: dict[str, str] = {}
        for name, operator in self.operators.items():
            place = f"operators.{as_key(name)}"
            if not is_name(name):
                yield place, "is not a name; use letters and digits, and '.', '_' or '-' between them"
            for line in operator.keys:
                owner = owners.setdefault(line, name)
                if owner != name:
                    yield f"{place}.keys", f"is the key of operators.{as_key(owner)} too; each needs an own key"
