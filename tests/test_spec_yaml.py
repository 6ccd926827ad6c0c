"""YAML read with places, and every fault of it told with file and line."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nightmill.errors import SpecError
from nightmill.spec import yaml_source
from nightmill.spec.problems import SpecErrors, each
from nightmill.spec.yaml_source import read_yaml


@pytest.fixture
def write(tmp_path):
    """Write a file and give its path."""

    def _write(content: str | bytes):
        path = tmp_path / "pipeline.yaml"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return _write


def test_places(write):
    """Every key and value knows its line and column, counted from 1, inside lists too."""
    source = read_yaml(write("a: 1\nb:\n  - x\n  - {c: y}\n"))
    assert source.data == {"a": 1, "b": ["x", {"c": "y"}]}
    assert source.keys["b",] == (2, 1)
    assert source.values["a",] == (1, 4)
    assert source.values["b", 0] == (3, 5)
    assert source.keys["b", 1, "c"] == (4, 6)
    assert source.values["b", 1, "c"] == (4, 9)


def test_line_of_what_is_absent(write):
    """A key that is missing is reported at the nearest thing around its place."""
    source = read_yaml(write("a: 1\nb:\n  c: 2\n"))
    assert source.line(("b", "nope", "deeper")) == 2
    assert source.line(("nope",)) == 1
    error = source.error("gone", ("b", "nope"), advice="add it")
    assert (error.file, error.line, error.key) == (source.file, 2, "b.nope")
    assert str(error) == f"{source.file}:2: b.nope: gone\n  -> add it"


BROKEN = {
    "empty": ("", 1, "found nothing", "pipeline"),
    "only comments": ("# nothing yet\n\n", 1, "found nothing", "pipeline"),
    "list": ("\n- a\n- b\n", 2, "found a list", ""),
    "plain text": ("just words\n", 1, "found plain text", ""),
    "tab": ("a:\n\tb: 1\n", 2, "no valid YAML", "spaces, not with tabs"),
    "unquoted preset": ("a: 1\nschedule: @daily\n", 2, "no valid YAML", 'schedule: "@daily"'),
    "unquoted cron": ("schedule: * * * * *\n", 1, "no valid YAML", 'schedule: "* * * * *"'),
    "unclosed quote": ('z: 0\na: "b\nc: 1\n', 2, "no valid YAML", "quote"),
    "unclosed bracket": ("a: [1, 2\nb: 3\n", 2, "no valid YAML", ""),
    "bad indent": ("a:\n    b: 1\n  c: 2\n", 3, "no valid YAML", "spaces in front"),
    "several documents": ("a: 1\n---\nb: 2\n", 2, "several documents", "`---`"),
    "duplicate": ("a: 1\nb: 2\na: 3\n", 3, "second time, first in line 1", "keep one"),
    "key is a list": ("? [a, b]\n: 1\n", 1, "a key must be plain text", ""),
    "key is a mapping": ("ok: 1\n? {a: b}\n: 1\n", 2, "a key must be plain text", ""),
    "impossible date": ("a: 1\nb: 2013-02-30\n", 2, "there is no day `2013-02-30`", "quotes"),
    "python object": ("a: !!python/object:os.system {}\n", 1, "is not allowed here", ""),
    "python name": ("a: !!python/name:os.system x\n", 1, "no valid value", ""),
    "unknown tag": ("a: !vault text\n", 1, "no valid value", ""),
    "undefined anchor": ("a: *nobody\n", 1, "undefined alias", ""),
    "recursive anchor": ("a: &x [*x]\n", 1, "levels", "without anchors"),
    "recursive merge": ("a: &x {<<: *x}\n", 1, "leads back to itself", ""),
    "merge of a list": ("a: &x {b: 1}\nc: {<<: [*x, *x]}\n", 2, "`<<` takes one mapping", ""),
    "control character": ("a: 1\nb: \x07\n", 2, "does not allow", "remove it"),
    "latin-1": (b"a: 1\nowner: Andr\xe9\n", 2, "not UTF-8: byte 0xe9", "save the file as UTF-8"),
    "utf-16": ("a: 1\n".encode("utf-16"), 1, "not UTF-8: byte 0xff", ""),
    "too deep": ("a: " + "[" * 30 + "]" * 30 + "\n", 1, "20 levels", "flat"),
    "far too deep": ("a: " + "[" * 9000 + "]" * 9000 + "\n", None, "", ""),
    "huge": ("a: 1\n" * 60_000, None, "larger than 256 KiB", "keep data out"),
}


@pytest.mark.parametrize(("content", "line", "words", "advice"), BROKEN.values(), ids=BROKEN)
def test_broken(write, content, line, words, advice):
    """A file that is no plain mapping is a SpecError with file, line, words and advice."""
    path = write(content)
    with pytest.raises(SpecError) as caught:
        read_yaml(path)
    error = caught.value
    assert error.file == path
    assert line is None or error.line == line
    assert words in error.problem
    assert advice in error.advice


def test_anchor_bomb(write):
    """Nine lines of anchors that expand to a billion values are refused at once."""
    lines = ["l0: &l0 [x]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(SpecError, match="more than 20000 values"):
        read_yaml(write("\n".join(lines)))


def test_merge_bomb(write):
    """Merge keys are counted like any other expansion."""
    lines = ["l0: &l0 {a: 1}"]
    lines += [
        f"l{n}: &l{n} {{{', '.join(f'k{i}: {{<<: *l{n - 1}}}' for i in range(10))}}}"
        for n in range(1, 10)
    ]
    with pytest.raises(SpecError, match="more than 20000 values"):
        read_yaml(write("\n".join(lines)))


def test_every_duplicate_is_told(write):
    """Two duplicate keys are two errors, and the text shows both."""
    with pytest.raises(SpecErrors) as caught:
        read_yaml(write("a: 1\na: 2\nb:\n  c: 1\n  c: 2\n"))
    assert [error.line for error in caught.value.errors] == [2, 5]
    assert "`a`" in str(caught.value)
    assert "`c`" in str(caught.value)


@pytest.mark.parametrize("raw", ["a: 1\n", "a: 1", "a: 1\r\n"])
def test_byte_order_mark(write, raw):
    """A byte order mark and Windows line ends do no harm."""
    assert read_yaml(write(b"\xef\xbb\xbf" + raw.encode())).data == {"a": 1}


def test_keys_stay_as_written(write):
    """YAML 1.1 reads `no` and `2013` as other things; as keys they stay text."""
    assert read_yaml(write("no: 1\n2013: 2\n1.0: 3\nnull: 4\n")).data == {
        "no": 1, "2013": 2, "1.0": 3, "null": 4,
    }  # fmt: skip


def test_merge(write):
    """`<<` fills in from an anchor, own keys win and keep their own line."""
    text = "base: &base {pool: cpu, gpu: 0}\nstep:\n  gpu: 1\n  <<: *base\n"
    source = read_yaml(write(text))
    assert source.data["step"] == {"pool": "cpu", "gpu": 1}
    assert source.line(("step", "gpu")) == 3
    assert source.line(("step", "pool")) == 1


def test_unreadable(tmp_path):
    """A file that is not there, or a folder, is a SpecError that names it."""
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(SpecError, match="cannot be read") as caught:
            read_yaml(path)
        assert caught.value.file == path


def test_pure_python_loader_agrees(write, monkeypatch):
    """Where PyYAML has no C library, lines and refusals are the same."""
    monkeypatch.setattr(yaml_source, "Loader", yaml.SafeLoader)
    assert read_yaml(write("a: 1\nb: {c: 2}\n")).keys["b", "c"] == (2, 5)
    with pytest.raises(SpecError, match="nested too deeply"):
        read_yaml(write("a: " + "[" * 9000 + "]" * 9000))


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
PLAIN = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)


@given(data=st.dictionaries(st.text(), PLAIN, max_size=5))
def test_agrees_with_pyyaml(tmp_path_factory, data):
    """What PyYAML writes is read back the same, with a place for every value."""
    path = tmp_path_factory.mktemp("yaml") / "x.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    source = read_yaml(path)
    assert source.data == data
    assert {key for (key, *rest) in source.keys if not rest} == set(data)


@given(raw=st.binary(max_size=80))
def test_any_bytes(tmp_path_factory, raw):
    """Whatever the bytes, the answer is data or a SpecError."""
    path = tmp_path_factory.mktemp("yaml") / "x.yaml"
    path.write_bytes(raw)
    files = [path]
    try:
        files.append(read_yaml(path).file)
    except SpecError as error:
        files += [one.file for one in each(error)]
    assert set(files) == {path}
