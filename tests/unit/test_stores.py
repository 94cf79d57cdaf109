"""The operator's file of stores: what is in it, what it opens, and what is said of a mistake."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from btworker.config import load_settings
from btworker.config.stores import StoreSettings, load_stores
from btworker.errors import StartupError
from btworker.locations import S3Object, S3Prefix, folder_like, is_key, is_prefix, parse_address

GOOD = """
[archive]
endpoint = "https://minio.internal:9000"
access_key_id = "AKID"
secret_access_key = "hush-hush"
read = ["recordings/calls", "open"]
write = ["results/texts/"]
keys = ["ann"]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "stores.toml"
    path.write_text(text, encoding="utf-8")
    return path


def store_of(folder: Path, text: str = GOOD) -> StoreSettings:
    return load_stores(written(folder, text))["archive"]


def test_the_file_says_all(tmp_path: Path) -> None:
    """Defaults are those of a store that is no AWS."""
    store = store_of(tmp_path)
    assert (store.region, store.virtual_hosted, store.secret) == ("us-east-1", False, "hush-hush")
    assert "hush" not in repr(store)
    assert load_stores(None) == {}


def test_the_secret_may_have_a_file_of_its_own(tmp_path: Path) -> None:
    """As containers get theirs."""
    (tmp_path / "secret").write_text("from-a-file\n")
    text = GOOD.replace('secret_access_key = "hush-hush"', f'secret_access_key_file = "{tmp_path}/secret"')
    assert store_of(tmp_path, text).secret == "from-a-file"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("[archive]", "[archive", "is no TOML"),
        ("[archive]", '["a b"]', "'a b' is no name of a store"),
        ("https://minio", "ftp://minio", "archive.endpoint"),
        (":9000", ":9000/path", "archive.endpoint"),
        ("minio.internal", "user:pass@minio", "archive.endpoint"),
        ('access_key_id = "AKID"', "", "archive.access_key_id: Field required"),
        ('secret_access_key = "hush-hush"', "", "secret_access_key or secret_access_key_file"),
        ('"hush-hush"', '"hush-hush"\nsecret_access_key_file = "/x"', "and not both"),
        ('secret_access_key = "hush-hush"', 'secret_access_key_file = "/nothing"', "/nothing cannot be read"),
        ('"recordings/calls"', '"recordings/../calls"', "archive.read: must be a list of buckets"),
        ('"recordings/calls"', '"/calls"', "archive.read"),
        ("keys =", "key =", "archive.key: Extra inputs are not permitted"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_repeated(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    """At the start, with the other settings' mistakes; a value may be the secret."""
    path = written(tmp_path, GOOD.replace(old, new))
    with pytest.raises(StartupError) as error:
        load_settings(WORKER_TOKEN="x" * 20, WORKER_STORES_FILE=path)
    assert sentence in error.value.message
    assert "hush" not in error.value.message


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    """A worker that should have buckets does not start without them."""
    with pytest.raises(StartupError, match=r"none\.toml cannot be read"):
        load_settings(WORKER_TOKEN="x" * 20, WORKER_STORES_FILE=tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("bucket", "key", "is_open"),
    [
        ("recordings", "calls/x", True),
        ("recordings", "calls/a/b", True),
        ("recordings", "calls", False),
        ("recordings", "calls-x/y", False),
        ("open", "x", True),
        ("opened", "x", False),
        ("results", "texts/x", False),
    ],
)
def test_what_may_be_read(tmp_path: Path, bucket: str, key: str, is_open: bool) -> None:
    """A folder is a folder, with or without its slash."""
    assert store_of(tmp_path).may_read(S3Object("archive", bucket, key)) is is_open


@pytest.mark.parametrize(
    ("prefix", "is_open"), [("texts", True), ("texts/", True), ("texts/a", True), ("texts-a", False), ("", False)]
)
def test_what_may_be_written(tmp_path: Path, prefix: str, is_open: bool) -> None:
    """Into the folder itself, and below it."""
    assert store_of(tmp_path).may_write(S3Prefix("archive", "results", prefix)) is is_open


@pytest.mark.parametrize(("keys", "name", "is_for"), [("ann", "ann", True), ("ann", "bob", False), ("*", "bob", True)])
def test_whom_it_is_for(tmp_path: Path, keys: str, name: str, is_for: bool) -> None:
    """Keys by name, or all of them."""
    assert store_of(tmp_path, GOOD.replace('["ann"]', f'["{keys}"]')).is_for(name) is is_for


_PARTS = st.sampled_from(["", ".", "..", "a", "calls", "%2e%2e", "a b", "\0", "\n", "ä", "...", "\x85"])


@given(st.lists(_PARTS, min_size=1, max_size=6).map("/".join))
def test_a_key_means_the_same_wherever_it_is_read(text: str) -> None:
    """What is taken for a key names one object: resolved as a path, it is itself, and nothing in it is no character."""
    if is_key(text):
        assert Path("/", text).as_posix() == f"/{text}"
        assert ".." not in Path(text).parts
        assert not set(text) & set("\0\n\x85")
    else:
        assert set(text.split("/")) & {"", ".", ".."} or set(text) & set("\0\n\x85")


@given(st.lists(st.sampled_from(["a", "b", "ä"]), max_size=4).map("/".join), st.booleans())
def test_outputs_lie_below_their_prefix(prefix: str, slash: bool) -> None:
    """One slash between them, whether one was given or not."""
    given_prefix = f"{prefix}/" if slash and prefix else prefix
    assert is_prefix(given_prefix)
    found = S3Prefix("archive", "results", given_prefix).object("x.json").key
    assert found == (f"{prefix}/x.json" if prefix else "x.json")
    assert is_key(found)
    assert folder_like(given_prefix) == folder_like(prefix)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("s3://archive/recordings/calls/a b.wav", ("archive", "recordings", "calls/a b.wav")),
        ("S3://archive/recordings", ("archive", "recordings", "")),
        ("https://archive/recordings", None),
        ("s3:/archive", None),
    ],
)
def test_addresses_as_people_write_them(text: str, found: tuple[str, str, str] | None) -> None:
    """Store, bucket, and the rest."""
    assert parse_address(text) == found
