"""Files of a storage notice what has changed in them."""

import pytest

from cluster.files import Damaged, read_json, write_json


def test_json_files_notice_a_changed_digit(tmp_path):
    write_json(tmp_path / "a.json", {"nll": 1.5})
    assert read_json(tmp_path / "a.json") == {"nll": 1.5}
    (tmp_path / "a.json").write_text((tmp_path / "a.json").read_text().replace("1.5", "1.6"))
    with pytest.raises(Damaged):
        read_json(tmp_path / "a.json")
