"""The loader: every problem at once, each naming the key and the remedy, and never another exception."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.ops.config import FILE_MAX, ConfigError, load, parse
from protocol.ops.model import Table, as_key, doc, iterate, nearest
from protocol.ops.values import Context, Duration, Name
from tests.support.toml import to_toml


class Inner(Table, frozen=True, kw_only=True):
    deadline: Annotated[Duration, doc("How long")] = 30.0
    hosts: Annotated[tuple[Name, ...], doc("Names", example='["a"]')] = ()
    words: Annotated[tuple[Name, ...], doc("Words")] = ()
    mode: Annotated[Literal["fast", "safe"], doc("Which", refused={"wild": "wild is gone; write fast"})] = "safe"
    other: Annotated[str | None, doc("Another Inner")] = None


class Entry(Table, frozen=True, kw_only=True):
    url: Annotated[str, doc("Where", example='"x"')]
    count: Annotated[int, doc("How many", ge=1, le=9)] = 2


class Model(Table, frozen=True, kw_only=True):
    id: Annotated[Name, doc("Who", example='"me"')]
    must: Annotated[bool, doc("Said or not", missing="must be said; write true or false")]
    inner: Annotated[Inner, doc("One")] = Inner()
    named: Annotated[dict[str, Inner], doc("Many by name")] = msgspec.field(default_factory=dict)
    entries: Annotated[tuple[Entry, ...], doc("Many in order", at_least=1, at_most=2)]
    free: Annotated[dict[str, Name], doc("Free keys")] = msgspec.field(default_factory=dict)

    def check(self, context: Context) -> Iterator[tuple[str, str]]:
        for name, inner in self.named.items():
            if inner.other is not None and inner.other not in self.named:
                yield f"named.{as_key(name)}.other", nearest(inner.other, self.named)


GOOD = """
id = "a"
must = true
[inner]
deadline = "1500ms"
[named.one]
hosts = ["x", "y"]
other = "one"
[[entries]]
url = "u"
[free]
Key = "v"
"""


def read(text: str) -> Model:
    return parse(text, Model, name="m.toml", context=Context(Path("/nowhere")))


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert str(caught.value) == "\n".join(map(str, caught.value.problems))
    return [str(problem) for problem in caught.value.problems]


def test_good_file() -> None:
    config = read(GOOD)
    assert config.inner.deadline == 1.5
    assert config.named["one"].hosts == ("x", "y")
    assert config.named["one"].deadline == 30.0
    assert config.entries == (Entry(url="u"),)
    assert config.free == {"Key": "v"}


def test_everything_wrong_is_reported_at_once() -> None:
    found = problems(
        """
        id = "a b"
        extra = 1
        [inner]
        deadlin = "1s"
        deadline = 5
        mode = "slow"
        [named."o ne"]
        hosts = ["x", "y y", 3]
        [named.two]
        other = "on"
        [[entries]]
        count = 10
        [[entries]]
        url = 3
        [free]
        "odd key" = ""
        """
    )
    a_name = "is not a name; use 1 to 64 letters, digits, '.', '_' or '-', first and last a letter or digit"
    assert found == [
        "m.toml: extra: unknown key; known here: entries, free, id, inner, must, named",
        f'm.toml: id: "a b" {a_name}',
        "m.toml: must: must be said; write true or false",
        'm.toml: inner.deadlin: unknown key; did you mean "deadline"?',
        'm.toml: inner.deadline: 5 is not a duration; write a number with ms, s, m, h or d, such as "5s"',
        'm.toml: inner.mode: "slow" is not possible; expected: "fast" or "safe"',
        f'm.toml: named."o ne": "o ne" {a_name}',
        f'm.toml: named."o ne".hosts[1]: "y y" {a_name}',
        'm.toml: named."o ne".hosts[2]: 3 is not a name',
        'm.toml: entries[0].url: is missing; write for example url = "x"',
        "m.toml: entries[0].count: 10 is not possible; expected: integer from 1 to 9",
        "m.toml: entries[1].url: 3 is not possible; expected: text",
        f'm.toml: free."odd key": "" {a_name}',
    ]


def test_checks_across_tables_come_with_other_problems() -> None:
    assert problems(GOOD.replace('other = "one"', 'other = "onee"\ndeadline = "x"')) == [
        'm.toml: named.one.deadline: "x" is not a duration; write a number with ms, s, m, h or d, '
        'such as "30s" or "1500ms"',
        'm.toml: named.one.other: did you mean "one"?',
    ]


def test_wrong_shapes() -> None:
    assert problems(GOOD.replace("[inner]", '[inner]\nhosts = "a"\nwords = "a"')) == [
        'm.toml: inner.hosts: "a" is not a list of name; write for example hosts = ["a"]',
        'm.toml: inner.words: "a" is not a list of name; write [...]',
    ]
    assert problems('id = "a"\nmust = true\ninner = 3\nnamed = [1]\nentries = "x"\nfree = []') == [
        "m.toml: inner: 3 is not a table; write [inner] and its keys below it",
        "m.toml: named: a list is not a table of tables; write [named.NAME]",
        'm.toml: entries: "x" is not a list of tables; write [[entries]] with url below it',
        "m.toml: free: a list is not a table of name; write {...}",
    ]


def test_missing_and_too_many_entries() -> None:
    head = 'id = "a"\nmust = true\n'
    assert problems(head) == ["m.toml: entries: is missing; write [[entries]] with url below it"]
    assert problems(head + "entries = []") == ["m.toml: entries: has 0 entries; 1 to 2 must be there"]
    assert problems(head + '[[entries]]\nurl = "u"\n' * 3) == [
        "m.toml: entries: has 3 entries; 1 to 2 must be there"
    ]


def test_message_for_one_refused_value() -> None:
    assert problems(GOOD.replace("[inner]", '[inner]\nmode = "wild"')) == [
        "m.toml: inner.mode: wild is gone; write fast"
    ]


def test_syntax_error_names_the_line() -> None:
    assert problems("id = 'a'\nmust = \n") == ["m.toml: is not TOML: invalid value (at line 2, column 8)"]


def test_nested_too_deeply() -> None:
    (problem,) = problems("id = " + "[" * 20_000)
    assert problem.startswith("m.toml: is not TOML")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "no.toml", Model)
    assert str(caught.value) == (
        f"{tmp_path}/no.toml: cannot be read: no such file or directory; name the file with --config"
    )


def test_not_text_and_too_large(tmp_path: Path) -> None:
    file = tmp_path / "m.toml"
    file.write_bytes(b'id = "a"\nx = "\xff"\n')
    with pytest.raises(ConfigError, match="line 2 is not UTF-8"):
        load(file, Model)
    file.write_bytes(b"#" * (FILE_MAX + 1))
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        load(file, Model)


def test_load_knows_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.toml").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    assert load("m.toml", Model).id == "a"
    assert os.getcwd() == str(tmp_path)


def test_iterate_names_every_key() -> None:
    dotted = [name for name, _, _ in iterate(Model)]
    assert "named.NAME.deadline" in dotted
    assert "entries.url" in dotted
    assert "inner" in dotted


def test_nearest() -> None:
    assert nearest("vists", ["visits", "other"]) == 'did you mean "visits"?'
    assert nearest("x", []) == "there is none to choose from"
    assert nearest("x", map(str, range(100, 200))).endswith(", 119, ...")


def test_a_key_of_two_types_is_the_authors_mistake() -> None:
    class Bad(Table, frozen=True, kw_only=True):
        both: Annotated[int | str, doc("No")] = 1

    with pytest.raises(TypeError):
        parse("", Bad, name="x", context=Context(Path()))


leaves = (
    st.none().map(lambda _: [])
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["1s", "fast", "a"])
    | st.dates()
    | st.datetimes()
    | st.times()
)
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
known = st.sampled_from(
    ["id", "must", "inner", "named", "entries", "free", "deadline", "hosts", "mode", "url", "count"]
)
trees = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(known, inner, max_size=4), max_leaves=30
)


@given(st.dictionaries(known | st.text(), trees | values, max_size=6))
def test_anything_is_read_or_reported(raw: dict[str, Any]) -> None:
    from protocol.ops.config import _Reader

    reader = _Reader("m.toml", Context(Path("/nowhere")))
    result = reader.table(Model, raw, ())
    for problem in reader.problems:
        assert "\n" not in str(problem)
    if not reader.problems:
        assert isinstance(result, Model)
        assert isinstance(result.id, str)


@given(st.text())
def test_keys_are_written_as_toml_wants_them(name: str) -> None:
    written = as_key(name)
    if name.isascii() and name.isprintable() and len(name) < 64 and not set(name) & set('"\\'):
        assert tomllib.loads(f"{written} = 1") == {name: 1}
    assert "\n" not in written


@given(st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["x", "y"])))
def test_free_tables_keep_their_keys(free: dict[str, str]) -> None:
    assert read(to_toml({**tomllib.loads(GOOD), "free": free})).free == free
