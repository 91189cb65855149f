import json

import pytest

from schemas.samples import samples


def test_apps_tell_the_urls_to_register(levelgate, some_settings):
    result = levelgate("apps", "--json", **some_settings)

    (app,) = json.loads(result.stdout)
    assert app["app"] == "demo"
    assert app["app_id"] == "66f0c1d2e3a4b5968778695a"
    assert app["webhook_url"] == "http://localhost:8080/webhooks/demo"
    assert app["redirect_url"] == "http://localhost:8080/oauth/callback/demo"
    assert "marked-client-secret" not in result.output


def test_samples_can_be_written_to_files_as_documented(levelgate, tmp_path):
    result = levelgate("simulate", "samples", "--write", "bodies", "--json")

    files = {sample.name: sample for sample in samples()}
    written = json.loads(result.stdout)
    assert len(written) == len(files)
    for each in (tmp_path / "bodies").iterdir():
        assert json.loads(each.read_bytes()) == files[each.stem].body


@pytest.mark.expected_errors("aiokafka")
def test_check_lists_each_fault_with_its_fix_and_masks_secrets(levelgate, some_settings, tmp_path):
    (tmp_path / "schemas.py").touch()
    result = levelgate("check", "--json", **some_settings, LEVELGATE_HANDLERS="no_such_module")

    assert result.exit_code == 1
    told = json.loads(result.stdout)
    faults = {check["name"]: check for check in told["checks"] if not check["ok"]}
    assert set(faults) == {"packages", "handlers", "postgres", "kafka", "vendor"}
    assert all(fault["fix"] for fault in faults.values())
    assert told["settings"]["receiver"]["port"] == 8080
    assert "marked-" not in result.output


@pytest.mark.expected_errors("aiokafka")
def test_check_in_words_names_the_fix(levelgate, some_settings):
    result = levelgate("check", **some_settings)

    assert result.exit_code == 1
    assert "FAULT postgres" in result.stdout
    assert "fix: start it (`levelgate up`), or set LEVELGATE_DATABASE_URL" in result.stdout
    assert "marked-" not in result.output
