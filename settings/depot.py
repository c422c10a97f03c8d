"""The settings of the depot, by which models and large updates go."""

from typing import Annotated

import msgspec

from settings.about import about

_KIB = 2**10
_MIB = 2**20
_TIB = 2**40


class DepotSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[depot]: where models and large updates lie that shall not go through the broker."""

    url: Annotated[
        str,
        about(
            "A folder that coordinator and workers share, file:///folder, which must be there, "
            "with a file <federation>.depot in it that you make once; or a bucket of an "
            "S3-compatible store, s3://bucket/prefix, which needs the package obstore "
            "(fedmq[depot]). Coordinator and workers must set the same. Empty: everything goes "
            "through the broker.",
            kind="depot",
            expected='"", an URL file:///folder, or s3://bucket/prefix with a bucket of 3 to 63 '
            "of the characters a-z, 0-9, . and -",
            free="what is not found in the new one is put there again",
        ),
    ] = ""
    endpoint: Annotated[
        str,
        about(
            "The URL of an S3-compatible store that is not Amazon's.",
            pattern=r"|https?://[^\s@?#]+",
            expected='"", or an URL https://host or http://host:port without user and password',
            free="the store may move",
        ),
    ] = ""
    region: Annotated[
        str,
        about(
            "The region of the bucket. Empty: what AWS_REGION says, else us-east-1.",
            pattern=r"[A-Za-z0-9-]{0,40}",
            expected="up to 40 of the characters A-Z, a-z, 0-9 and -",
            free="the store may move",
        ),
    ] = ""
    credentials: Annotated[
        str,
        about(
            "A file with the credentials of the bucket, as ~/.aws/credentials, of which [default] "
            "is taken. A relative path counts from the folder of this file. Empty: what "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY say, or the role of the machine.",
            kind="file",
            expected='"", or the path of a file',
            free="credentials change",
        ),
    ] = ""
    min_bytes: Annotated[
        int,
        about(
            "Models and updates from this size on go by the depot. An update that fits into one "
            "message, see rounds.part_bytes, never does.",
            kind="size",
            at_least=_KIB,
            at_most=_TIB,
            free="whoever reads them takes both ways",
        ),
    ] = 4 * _MIB
