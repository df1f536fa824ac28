"""Hosts for the tests of this folder, where they can be made."""

import pytest
from support.hosts import network, why_not


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """Three hosts with a shared folder."""
    if why := why_not():
        pytest.skip(why)
    with network(3, tmp_path_factory.mktemp("hosts")) as made:
        yield made
