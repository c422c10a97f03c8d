import pickle

from settings.errors import SettingsError, one_line, show


def test_an_error_is_one_line_with_field_source_and_what_came() -> None:
    error = SettingsError("rounds.goal", "a whole number", '"x"', "federation.toml", "mend it")
    assert str(error) == (
        'rounds.goal (federation.toml): expected a whole number, got "x"; mend it'
    )


def test_an_error_needs_neither_source_nor_hint() -> None:
    assert str(SettingsError("log level", "info", "nothing")) == (
        "log level: expected info, got nothing"
    )


def test_an_error_stays_on_one_line_whatever_came() -> None:
    error = SettingsError("a\nb", "c", show("d\r\n\x1b[31m\u2028e"), "f\tg")
    assert str(error) == 'a b (f g): expected c, got "d \\x1b[31m e"'


def test_an_error_survives_a_pickle() -> None:
    error = SettingsError("a", "b", "c", "d", "e")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_values_are_shown_as_the_file_would_have_them() -> None:
    shown = [show(value) for value in (True, False, 3, 1.5, "text", [1], {}, {"a": 1})]
    expected = ["true", "false", "3", "1.5", '"text"', "a list", "an empty table", "a table"]
    assert shown == expected


def test_a_long_value_is_shortened() -> None:
    assert len(show("x" * 10_000)) < 200


def test_a_password_is_not_shown_even_where_the_value_is_cut() -> None:
    assert "s3cret" not in show("see amqp://user:s3cret@" + "h" * 1000)


def test_one_line_leaves_ordinary_text_alone() -> None:
    assert one_line("did you mean “goal”?") == "did you mean “goal”?"


def test_what_others_wrote_is_one_line_that_no_terminal_obeys() -> None:
    assert one_line(" a\nb\x1b[2Jc\u2028d é ") == "a b\\x1b[2Jc d é"
