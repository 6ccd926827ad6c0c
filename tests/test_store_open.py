"""Opening a store: which URL opens what, and what is said of a wrong one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nightmill.errors import StoreError
from nightmill.store.open import open_store
from nightmill.store.s3_settings import S3Settings


def test_a_relative_path_starts_at_the_base(tmp_path):
    """A relative path is a directory below the base, and nothing is made before a write."""
    store = open_store(".nightmill/store", base=tmp_path)
    assert store.url == str(tmp_path / ".nightmill" / "store")
    assert store.address("a/b") == str(store.local_path("a/b")) == f"{store.url}/a/b"
    assert not (tmp_path / ".nightmill").exists()


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/data/store", "/data/store"),
        ("file:///data/my%20store", "/data/my store"),
        ("file://localhost/data", "/data"),
        ("/data/x/../store/", "/data/store"),
        ("~/store", "/home/ann/store"),
    ],
)
def test_absolute_addresses_ignore_the_base(tmp_path, monkeypatch, url, path):
    """Absolute paths, file URLs and ~ mean the same directory from everywhere."""
    monkeypatch.setenv("HOME", "/home/ann")
    assert open_store(url, base=tmp_path).url == path


@pytest.mark.parametrize(
    "url", ["", " ", "a\0b", "gs://bucket/x", "https://u:secret@h/x", "s4:/x", "file://host/x"]
)
def test_other_addresses_are_refused_with_advice(tmp_path, url):
    """What is no store is a StoreError that says what to write, and repeats no secret."""
    with pytest.raises(StoreError) as raised:
        open_store(url, base=tmp_path)
    assert raised.value.advice
    assert "secret" not in str(raised.value)


def test_a_directory_store_does_not_import_boto3(tmp_path):
    """Who keeps a store in a directory does not wait for boto3."""
    code = (
        "import sys; from pathlib import Path; import nightmill.store.pointer\n"
        "from nightmill.store.open import open_store\n"
        f"open_store({str(tmp_path)!r}, base=Path()).write('k', b'')\n"
        "print([name for name in sys.modules if name.startswith(('boto', 's3transfer'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_s3_url_says_all_settings():
    """Bucket, prefix and every setting are read from the URL, and written back the same."""
    url = (
        "s3://bucket/a/b%20c?endpoint=http://127.0.0.1:8333&region=us-east-1&profile=night"
        "&sse=aws:kms&kms_key_id=arn:aws:kms:us-east-1:1:key/2&addressing=virtual"
        "&checksums=when_supported&retries=4"
    )
    settings = S3Settings.parse(url)
    assert settings == S3Settings(
        bucket="bucket",
        prefix="a/b%20c",
        endpoint="http://127.0.0.1:8333",
        region="us-east-1",
        profile="night",
        sse="aws:kms",
        kms_key_id="arn:aws:kms:us-east-1:1:key/2",
        addressing="virtual",
        checksums="when_supported",
        retries=4,
    )
    assert settings.url == url
    assert settings.address == "s3://bucket/a/b%20c"


@pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/", "s3://bucket?region="])
def test_a_bucket_alone_is_a_store(url):
    """A store may fill a bucket, with every setting as AWS has it."""
    settings = S3Settings.parse(url)
    assert (settings.url, settings.prefix, settings.checksums) == (
        "s3://bucket",
        "",
        "when_required",
    )


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s3://", "no bucket name"),
        ("s3:///prefix", "no bucket name"),
        ("s3://B_ucket/x", "no bucket name"),
        ("s3://ab/x", "no bucket name"),
        ("s3://bucket/x#y", "no #"),
        ("s3://bucket?endpont=http://h", "did you mean 'endpoint'"),
        ("s3://bucket?checksum=when_required", "did you mean 'checksums'"),
        ("s3://bucket?Region=x", "did you mean 'region'"),
        ("s3://bucket?zzz=1", "settings are: endpoint, region"),
        ("s3://bucket?region=a&region=b", "twice"),
        ("s3://bucket?retries=many", "use one of: 0, 1, 2"),
        ("s3://bucket?retries=-1", "use one of: 0, 1, 2"),
        ("s3://bucket?checksums=never", "when_required, when_supported"),
        ("s3://bucket?sse=rot13", "AES256"),
        ("s3://bucket?addressing=x", "path, virtual"),
        ("s3://bucket?kms_key_id=k", "sse=aws:kms"),
        ("s3://bucket?sse=AES256&kms_key_id=k", "sse=aws:kms"),
        ("s3://bucket?endpoint=127.0.0.1:8333", "http://host:port"),
        ("s3://bucket?endpoint=http://h/path", "http://host:port"),
    ],
)
def test_a_wrong_s3_url_says_what_to_write(tmp_path, url, says):
    """Every wrong part of an S3 URL is named with what would be right."""
    with pytest.raises(StoreError) as raised:
        open_store(url, base=tmp_path)
    assert says in str(raised.value)
    assert raised.value.advice


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIA:hunter2@bucket/x",
        "s3://bucket/x?aws_secret_access_key=hunter2",
        "s3://bucket/x?endpoint=http://ann:hunter2@host:1",
    ],
)
def test_secrets_in_a_url_are_refused_and_not_repeated(tmp_path, url):
    """Credentials in a URL are an error whose message does not spread them."""
    with pytest.raises(StoreError) as raised:
        open_store(url, base=tmp_path)
    assert "hunter2" not in str(raised.value)
    assert "AWS_PROFILE" in raised.value.advice
