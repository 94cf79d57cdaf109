"""PartParser against anything: what was put into a form comes out of it, wherever the chunks are cut."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from btworker.errors import BtworkerError, ErrorCode
from btworker.web.parts import MAX_IDLE_BYTES, PartHead, PartParser, boundary_of

BOUNDARY = "b0undary"
# Bytes that look like a boundary, or nearly so, are what a parser trips over.
TRICKY = st.lists(
    st.sampled_from(
        [b"\r", b"\n", b"-", b"--", b"\r\n", b"\r\n--", b"\r\n--b0und", b"--b0undary", b"\r\n--b0undarx", b"x", b"\0"]
    ),
    max_size=12,
).map(b"".join)
CONTENT = st.one_of(TRICKY, st.binary(max_size=300)).filter(lambda raw: b"\r\n--b0undary" not in b"\r\n" + raw)


def make_form(parts: list[bytes], *, preamble: bytes = b"", epilogue: bytes = b"") -> bytes:
    head = b'\r\nContent-Disposition: form-data; name="f"; filename="%d"\r\n\r\n'
    body = b"".join(b"--b0undary" + head % n + content + b"\r\n" for n, content in enumerate(parts))
    return preamble + body + b"--b0undary--" + epilogue


def parse(chunks: list[bytes]) -> list[tuple[str | None, bytes]]:
    """(filename, content) of each part, as uploads.py would see them."""
    parser, found = PartParser(BOUNDARY, max_parts=100), []
    open_part: list[bytes] | None = None
    for chunk in filter(None, chunks):
        for event in parser.feed(chunk):
            if isinstance(event, PartHead):
                assert open_part is None
                open_part = []
                found.append((event.filename, open_part))
            elif isinstance(event, bytes):
                assert open_part is not None
                open_part.append(event)
            else:
                open_part = None
    parser.close()
    return [(name, b"".join(content)) for name, content in found]


@settings(deadline=None)
@given(parts=st.lists(CONTENT, min_size=1, max_size=4), data=st.data())
def test_any_cut_gives_the_same_parts(parts: list[bytes], data: st.DataObject) -> None:
    body = make_form(parts, preamble=data.draw(st.sampled_from([b"", b"\r\n", b"preamble\r\n"])), epilogue=b"\r\nend")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    chunks = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert parse(chunks) == [(str(n), content) for n, content in enumerate(parts)]


def test_every_single_cut_gives_the_same_parts() -> None:
    """The boundary split at each of its bytes, and the whole body byte by byte."""
    parts = [b"\r\n--b0undar", b"", b"\r", b"abc\r\n-"]
    body = make_form(parts, epilogue=b"\r\n")
    expected = [(str(n), content) for n, content in enumerate(parts)]
    for cut in range(len(body)):
        assert parse([body[:cut], body[cut:]]) == expected
    assert parse([bytes([byte]) for byte in body]) == expected


@settings(deadline=None)
@given(junk=st.binary(max_size=400), cut=st.integers(0, 400))
def test_junk_is_refused_and_never_crashes(junk: bytes, cut: int) -> None:
    body = make_form([b"abc"])
    for hostile in (junk, body[: cut % len(body)] + junk):
        try:
            parse([hostile[:cut], hostile[cut:]])
        except BtworkerError as error:
            assert error.code is ErrorCode.BAD_MULTIPART  # noqa: PT017 - any other outcome is a complete form


def test_bytes_outside_of_parts_are_bounded() -> None:
    """A preamble or an epilogue without end is cut short."""
    for start in (b"x", make_form([b"abc"])):
        parser = PartParser(BOUNDARY, max_parts=10)
        list(parser.feed(start))
        for _ in range(MAX_IDLE_BYTES // 1024 - 1):
            list(parser.feed(b"y" * 1024))
        with pytest.raises(BtworkerError, match="outside"):
            list(parser.feed(b"y" * 2048))


@pytest.mark.parametrize(
    ("header", "boundary"),
    [
        ("multipart/form-data; boundary=abc", "abc"),
        ('multipart/form-data; charset=utf-8; boundary="a b:c"', "a b:c"),
        (
            "Multipart/Form-Data; BOUNDARY=----WebKitFormBoundary7MA4YWxkTrZu0gW",
            "----WebKitFormBoundary7MA4YWxkTrZu0gW",
        ),
        ("multipart/form-data; boundary=b/QeEbFgqK9PCZo4T", "b/QeEbFgqK9PCZo4T"),
        ("multipart/form-data; boundary=aaa=bbb; charset=utf-8", "aaa=bbb"),
        ("multipart/form-data; boundary=a:b?c(d),'e+f_g.h", "a:b?c(d),'e+f_g.h"),
        ('multipart/form-data; boundary="a\\=b"', "a=b"),
        ("multipart/form-data; boundary = spaced ;charset=x", "spaced"),
        ("multipart/form-data; boundary=" + "x" * 70, "x" * 70),
    ],
)
def test_boundaries(header: str, boundary: str) -> None:
    assert boundary_of(header) == boundary


@pytest.mark.parametrize(
    ("parameter", "sentence"),
    [
        ("", "is missing or empty"),
        ("; boundary=", "is missing or empty"),
        ('; boundary=""', "is missing or empty"),
        ('; boundary="é"', r"has the character '\\xe9', which RFC 2046 forbids"),
        ("; boundary=a@b", "has the character '@', which RFC 2046 forbids"),
        ("; boundary=a*b", r"has the character '\*', which RFC 2046 forbids"),
        ("; boundary=[a]", r"has the character '\[', which RFC 2046 forbids"),
        ('; boundary="a\\"b"', "has the character '\"', which RFC 2046 forbids"),
        ('; boundary="a "', "ends with a space, which RFC 2046 forbids"),
        ("; boundary=" + "x" * 71, "has 71 characters; at most 70 are allowed"),
    ],
)
def test_a_boundary_that_the_rfc_forbids_is_named(parameter: str, sentence: str) -> None:
    """With what is wrong about it."""
    with pytest.raises(BtworkerError, match=f"the boundary in the Content-Type .*{sentence}"):
        boundary_of("multipart/form-data" + parameter)


def test_a_body_with_another_boundary_says_so() -> None:
    """Short or long: no part of it was found."""
    for body in (make_form([b"abc"]), make_form([b"x" * MAX_IDLE_BYTES])):
        parser = PartParser("another", max_parts=10)
        with pytest.raises(BtworkerError, match="no part of it begins with the boundary in the Content-Type"):
            _ = [*parser.feed(body), parser.close()]


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("Gespräch.wav".encode(), "Gespräch.wav"),
        ("Gespräch.wav".encode("cp1252"), "Gespräch.wav"),
        ("10 €.wav".encode("cp1252"), "10 €.wav"),
        ("Запись.wav".encode("cp1251"), "Çàïèñü.wav"),
        (b"\xff\xfe.wav", "ÿþ.wav"),
        (b"a\x81b.wav", "a\ufffdb.wav"),
    ],
)
def test_a_name_may_be_in_any_encoding(raw: bytes, name: str) -> None:
    """What is no UTF-8 is taken for a Western Windows'."""
    [(found, _)] = parse([make_form([b"abc"]).replace(b'filename="0"', b'filename="' + raw + b'"')])
    assert found == name


@given(raw=st.binary(max_size=60).filter(lambda raw: not set(raw) & set(b'"\r\n\\%;')))
def test_no_byte_of_a_name_costs_the_upload(raw: bytes) -> None:
    """But those that end a header, which are the client's to escape."""
    [(found, content)] = parse([make_form([b"abc"]).replace(b'filename="0"', b'filename="' + raw + b'"')])
    assert (found is None, content) == (False, b"abc")
