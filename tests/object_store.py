"""A server that speaks S3 on this machine, and what tests do to the file systems behind a store."""

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import fsspec
import pytest
from botocore.exceptions import EndpointConnectionError
from moto.server import ThreadedMotoServer

from preprocess.store_place import StoreUrl

BUCKET = "bucket"


@contextmanager
def s3_server() -> Iterator[None]:
    """The environment leads to a server with one empty bucket."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    variables = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "name",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        forget_file_systems()
        fsspec.filesystem("s3").makedirs(BUCKET, exist_ok=True)
        try:
            yield
        finally:
            server.stop()
            forget_file_systems()


def forget_file_systems() -> None:
    """The next question opens the file system anew, with what the environment says then."""
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def unreachable() -> EndpointConnectionError:
    """What the library for S3 raises where the network is gone; it is no `OSError`."""
    return EndpointConnectionError(endpoint_url="http://name:secret@host/")


def upload_half_and_die(place: StoreUrl, data: bytes) -> None:
    """End this process in the middle of an upload."""
    if place.url.startswith("s3://"):
        files = fsspec.filesystem("s3")
        where = {"Bucket": BUCKET, "Key": place.url.removeprefix(f"s3://{BUCKET}/")}
        upload = files.call_s3("create_multipart_upload", **where)
        files.call_s3("upload_part", **where, UploadId=upload["UploadId"], PartNumber=1, Body=data[: len(data) // 2])
    os.kill(os.getpid(), signal.SIGKILL)
