"""Files of images and blobs: a folder, or an object store."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Final, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, Field, model_validator

from span_events.config.fields import Count, Octets, Seconds, setting
from span_events.config.sections.base import Section

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
"""Name of a bucket (Amazon S3, bucket naming rules)."""
_PARAMETERS: Final = {"endpoint", "region"}


@dataclass(frozen=True, slots=True)
class Bucket:
    """A prefix in a bucket of an object store."""

    name: str
    prefix: str
    """Without a slash at either end; empty for the whole bucket."""
    endpoint: str
    """URL of the store; empty for Amazon's."""
    region: str

    def __str__(self) -> str:
        """Return the URL without its parameters."""
        return f"s3://{self.name}/{self.prefix}".rstrip("/")


def bucket_of(url: str) -> Bucket | None:
    """
    Read ``files.url``; None if it names a folder.

    Raises:
        ValueError: The URL is neither that of a bucket nor a folder.
    """
    if "://" not in url:
        return None
    try:
        parts = urlsplit(url)
        parameters = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        endpoint = parameters.get("endpoint", "")
        at = urlsplit(endpoint)
        is_usable = not endpoint or (at.scheme in ("http", "https") and bool(at.hostname) and at.port != 0)
    except ValueError as exc:
        raise ValueError(f"cannot be read: {exc}") from exc
    if parts.scheme != "s3":
        raise ValueError(f"begins with {parts.scheme}://, wanted a folder or s3://BUCKET/PREFIX?endpoint=URL")
    if parts.username or parts.password or at.username or at.password:
        raise ValueError("holds credentials: put them into files.credentials_file")
    if not _BUCKET.fullmatch(parts.netloc):
        raise ValueError(f"{parts.netloc!r} is no name of a bucket: 3 to 63 of a-z, 0-9, dot and hyphen")
    unknown = sorted(parameters.keys() - _PARAMETERS)
    if unknown:
        raise ValueError(f"has the parameter {unknown[0]}, wanted endpoint or region")
    if not is_usable:
        raise ValueError(f"endpoint is {endpoint!r}, wanted https://HOST or http://HOST:PORT")
    return Bucket(parts.netloc, parts.path.strip("/"), endpoint, parameters.get("region", "us-east-1"))


def _check_url(url: str) -> str:
    bucket_of(url)
    return url


class FilesConfig(Section):
    """Octets of firmware images and blobs: in a folder, or in an object store that several nodes share."""

    url: Annotated[str, AfterValidator(_check_url)] = Field(
        default="",
        description="Empty: the data directory. Or a folder, or s3://BUCKET/PREFIX?endpoint=URL for an object store.",
        examples=["s3://span-events/production?endpoint=https://s3.example.com&region=eu-central-1"],
    )
    credentials_file: str = Field(
        default="",
        description="File with the credentials of the object store, in the form of ~/.aws/credentials; empty:"
        " AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the role of the machine.",
        examples=["/etc/span-events/object-store.credentials"],
    )
    ca_file: str = setting(
        "", "PEM file of the authorities that check the object store's certificate; empty: the system's."
    )
    cache: Octets = setting(
        1_073_741_824,
        "Upper bound of local copies of images, octets, and of blobs as much again; beyond, the longest unused goes.",
    )
    transfers: Count = setting(8, "Upper bound of concurrent transfers to and from the object store; others wait.")
    timeout: Seconds = setting(60.0, "Seconds that one transfer to or from the object store may take.")

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if bucket_of(self.url) is None and (self.credentials_file or self.ca_file):
            raise ValueError("url: names no object store, so credentials_file and ca_file mean nothing")
        return self
