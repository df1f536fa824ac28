"""Make the bucket of MLflow's artifacts, once the object storage answers: `python bucket.py NAME`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

PATIENCE = 60.0
"""Seconds that the object storage has to answer."""


def main(name: str) -> None:
    """Make it, unless it is there."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client(
        "s3",
        endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"],
        aws_access_key_id="mlflow",
        aws_secret_access_key=(Path(os.environ.get("SECRETS", "/run/secrets")) / "objects_key").read_text(),
        region_name=os.environ.get("AWS_DEFAULT_REGION", "us-east-1"),
    )
    until = time.monotonic() + PATIENCE
    while True:
        try:
            if name not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
                client.create_bucket(Bucket=name)
            return
        except (BotoCoreError, ClientError) as error:
            if time.monotonic() > until:
                raise SystemExit(f"the bucket {name} could not be made: {error}") from error
            time.sleep(1)


if __name__ == "__main__":
    main(sys.argv[1])
