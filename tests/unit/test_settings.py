"""Settings: read from the environment, checked, and never shown with their secrets."""

import os
from pathlib import Path

import pytest

from haulage.infra.settings import SettingsError, cores, default_actor, load_settings, redacted


def test_without_any_variable_everything_is_embedded_where_you_stand(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert settings.home == tmp_path / ".haulage"
    assert (settings.postgres_url, settings.nats_url, settings.postgres_port, settings.nats_port) == (None, None, 0, 0)
    assert (settings.tenant, settings.workers, settings.input_folders) == ("default", cores(), ())


def test_a_home_stays_where_it_was_named_when_the_process_goes_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HAULAGE_HOME", "here")
    settings = load_settings()
    monkeypatch.chdir("/")
    assert settings.home == tmp_path / "here"


def test_folders_are_divided_by_colons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAULAGE_INPUT_FOLDERS", os.pathsep.join(["/srv/in", "/data"]))
    assert load_settings().input_folders == (Path("/srv/in"), Path("/data"))


def test_the_command_line_goes_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAULAGE_WORKERS", "3")
    assert load_settings().workers == 3
    assert load_settings(workers=5).workers == 5


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAULAGE_POSTGRES_URL", "")
    assert load_settings().postgres_url is None


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("WORKERS", "many", "HAULAGE_WORKERS is 'many', which will not do: it should be a valid integer"),
        ("WORKERS", "0", "HAULAGE_WORKERS is '0', which will not do: it should be greater than or equal to 1"),
        ("POSTGRES_PORT", "70000", "HAULAGE_POSTGRES_PORT is '70000', which will not do: it should be less than"),
        ("LEASE_SECONDS", "soon", "HAULAGE_LEASE_SECONDS is 'soon', which will not do: it should be a valid number"),
        ("LEASE_SECONDS", "inf", "HAULAGE_LEASE_SECONDS is 'inf', which will not do: it should be a finite number"),
        ("TENANT", "Big Corp", "HAULAGE_TENANT is 'Big Corp', which will not do: it should be a word"),
        ("ACTOR", "a.b", "HAULAGE_ACTOR is 'a.b', which will not do: it should be a word"),
        ("NATS_CREDENTIALS", "/no/such.creds", "HAULAGE_NATS_CREDENTIALS is '/no/such.creds', which will not do"),
    ],
)
def test_a_bad_value_gets_a_sentence_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(f"HAULAGE_{variable}", value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("POSTGRES_URL", "mysql://ann:hush@db/x"),
        ("POSTGRES_ADMIN_URL", "ann:hush@db/x"),
        ("NATS_URL", "http://hush@bus"),
        ("NATS_URL", "nats://fine,hush@bus"),
        ("NATS_TOKEN", "hush hush"),
    ],
)
def test_a_bad_secret_is_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(f"HAULAGE_{variable}", value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert f"HAULAGE_{variable} will not do: it should" in str(caught.value)
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("variable", "value", "other"),
    [
        ("POSTGRES_ADMIN_URL", "postgresql://a:b@db/x", "HAULAGE_POSTGRES_URL"),
        ("NATS_TOKEN", "t", "HAULAGE_NATS_URL"),
    ],
)
def test_a_setting_of_a_server_that_is_not_named_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, other: str
) -> None:
    monkeypatch.setenv(f"HAULAGE_{variable}", value)
    with pytest.raises(SettingsError, match=f"HAULAGE_{variable} is of use only together with {other}"):
        load_settings()


def test_every_bad_value_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAULAGE_WORKERS", "many")
    monkeypatch.setenv("HAULAGE_NATS_PORT", "-1")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert len(str(caught.value).splitlines()) == 2


def test_settings_can_be_printed_without_giving_a_secret_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAULAGE_POSTGRES_URL", "postgresql://ann:hush@db/x")
    monkeypatch.setenv("HAULAGE_NATS_URL", "nats://bus")
    monkeypatch.setenv("HAULAGE_NATS_TOKEN", "hush")
    settings = load_settings()
    assert "hush" not in repr(settings)
    assert "hush" not in settings.model_dump_json()
    assert settings.nats_with_token() == "nats://hush@bus"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:hush@db:5432/x", "postgresql://ann:***@db:5432/x"),
        ("postgresql://ann:hush@/x?host=%2Frun&port=5432", "postgresql://ann:***@/x?host=%2Frun&port=5432"),
        ("postgresql://db/x?user=ann&password=hush", "postgresql://db/x?user=ann&password=***"),
        ("postgresql://ann@db/x", "postgresql://ann@db/x"),
        ("postgresql://ann:hush,hush@db,spare/x", "postgresql://ann:***@db,spare/x"),
        ("nats://hush@one:4222,nats://ann:hush@two", "nats://***@one:4222,nats://ann:***@two"),
        ("nats://one", "nats://one"),
    ],
)
def test_a_redacted_url_keeps_what_helps_and_hides_what_is_secret(url: str, shown: str) -> None:
    assert redacted(url) == shown


def test_the_actor_is_the_user_of_the_machine_as_a_word_of_the_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "Ann.Example")
    assert default_actor() == "ann-example"
