"""Which texts are secrets, and that masking keeps the shape of what it masks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp_server.context import masking
from lsp_server.context.budget import Cut
from lsp_server.context.masking import mask_around, mask_text

RANDOM = "q7RzT2mWx9KdV4bLpN8sYc3HfJ6gA1eU"
HEX = "9f86d081884c7d659a2feaa0c55ad015"


def joined(*parts: str) -> str:
    """A secret in parts, so that scanners of repositories don't take this file for one that leaks."""
    return "".join(parts)


SECRETS = [
    ("key = {}", joined("AKIA", "IOSFODNN7EXAMPLQ")),
    ('aws_secret_access_key = "{}"', joined("wJalrXUtnFEMI/K7MDENG", "/bPxRfiCYzzzzzzzKEY")),
    ("git clone with {} please", joined("ghp", "_", RANDOM, "abcd")),
    ("x = '{}'", joined("github", "_pat_", RANDOM)),
    ("{}", joined("glpat", "-", RANDOM[:20])),
    ('slack("{}")', joined("xoxb", "-123456789012-", RANDOM)),
    ('client = OpenAI("{}")', joined("sk", "-proj-", RANDOM)),
    ("{}", joined("sk", "-ant-api03-", RANDOM)),
    ("stripe {}", joined("sk", "_live_", RANDOM)),
    ("maps {}", joined("AI", "za", RANDOM, "abc")),
    ("//registry.npmjs.org/:_authToken={}", joined("npm", "_", RANDOM, "abcd")),
    ("{}", joined("pypi", "-AgEIcHlwaS5vcmc", RANDOM)),
    ("login(token={})", joined("hf", "_", RANDOM)),
    ("send {}", joined("SG", ".", RANDOM[:22], ".", RANDOM)),
    ('bot = "{}"', joined("123456789", ":AA", RANDOM, "x")),
    ("jwt {}", joined("eyJhbGciOiJIUzI1NiJ9", ".eyJzdWIiOiIxMjM0NTY3", ".", RANDOM)),
    ('headers = {{"Authorization": "Bearer {}"}}', RANDOM),
    ("postgres://admin:{}@db.internal:5432/app", "hunter2x"),
    ('"redis://:{}@cache:6379/0"', "p4ss_w0rd"),
    ("AccountName=a;AccountKey={};EndpointSuffix=b", RANDOM * 2 + "=="),
    ("Server=db;User Id=sa;Password={};", "Sup3rSecret!"),
    ('password = "{}"', "hunter2"),
    ("PASSWORD: '{}'", "correcthorsebattery"),
    ("db_password: str = '{}'", "tr0ub4dor&3"),
    ('"password": "{}",', "s3cr3t!x"),
    ("login(user, passwd='{}')", "abc123xyz"),
    ("const apiKey = `{}`;", HEX),
    ('SECRET_KEY = "{}"', "django-insecure-8x!k2$q@1" + RANDOM),
    ('client_secret => "{}"', RANDOM),
    ('os.environ["API_TOKEN"] = "{}"', HEX),
    ('os.environ.setdefault("AUTH_TOKEN", "{}")', HEX),
    ("export GITHUB_TOKEN={}", HEX),
    ("ENCRYPTION_KEY={}", RANDOM),
    ("  access_token: {}", RANDOM),
    ("if token == '{}':", HEX),
    ("{}", "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDP1x7ZQ3m2bV9"),
]
HARMLESS = [
    "def password(self, token: str) -> str:",
    "token = parse_token(text)",
    'token = "access_token"',
    'TOKEN_TYPE = "bearer-token"',
    'password_field = "password"',
    'secret_name = "production/database"',
    "password = os.environ['DB_PASSWORD']",
    'password = "<your password>"',
    'password = "{password}"',
    "password: ${DB_PASSWORD}",
    'api_key = "YOUR_API_KEY"',
    'api_key = "your-key-here"',
    'api_key="xxxxxxxx"',
    'sort_key = "created_at"',
    'key = "user.settings.theme"',
    "key = sorted(values)[0]",
    'keys = {"key": "first_name", "token": "identifier"}',
    "max_tokens = 160",
    "num_tokens: int = 12345678",
    "next_token = tokens[position + 1]",
    'self.tokenizer = load("tokenizer.json")',
    'token_class = "django.contrib.auth.tokens"',
    'url = "https://example.com/path?query=1"',
    'url = f"postgres://{user}:{password}@{host}/app"',
    "https://user:$PASSWORD@host/",
    'commit = "849fd48a2b"',
    "sha256 = hashlib.sha256(data).hexdigest()",
    'assert digest == "sha1"',
    "import secrets",
    "class SecretStr(BaseModel):",
    "very_long_name_of_a_function_that_goes_on_and_on_and_on_for_ever_and_ever(argument)",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "sk-learn and task-force are words",
    'PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]',
    "Basic authentication is described below",
    "# the bearer authorization header holds the session token",
]


@pytest.mark.parametrize(("line", "secret"), SECRETS)
def test_a_secret_is_masked_and_nothing_else(line: str, secret: str) -> None:
    assert mask_text(line.format(secret)) == line.format("*" * len(secret))


@pytest.mark.parametrize("line", HARMLESS)
def test_what_is_no_secret_stays(line: str) -> None:
    assert mask_text(line) == line


PEM = "\n".join(
    [
        joined("-----BEGIN RSA PRIVATE", " KEY-----"),
        "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDP1x7ZQ3m2bV9",
        "shortline==",
        joined("-----END RSA PRIVATE", " KEY-----"),
    ]
)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"a = 1\n{PEM}\nb = 2", "a = 1\n-----BEGIN"),
        (f'key = """{PEM}"""\nb = 2', 'key = """-----BEGIN'),
        (PEM[60:] + "\nb = 2", "*"),  # cut within the key
        (PEM[:-33], "-----BEGIN"),
        (
            joined('"private_key": "-----BEGIN PRIVATE', ' KEY-----\\nMIIEvshortline=\\n-----END PRIVATE KEY-----\\n"'),
            '"',
        ),
    ],
)
def test_a_private_key_is_masked_wherever_it_was_cut(text: str, kept: str) -> None:
    masked = mask_text(text)
    assert masked.startswith(kept)
    assert len(masked) == len(text)
    assert "shortline" not in masked
    assert "MIIEv" not in masked
    assert masked.endswith("\nb = 2") == text.endswith("\nb = 2")


def test_the_line_of_the_cursor_stays_as_it_is_typed() -> None:
    secret = joined("ghp", "_", RANDOM, "abcd")
    cut = Cut(prefix=f"a = '{secret}'\nb = '{secret}", suffix=f"{secret}'\nc = '{secret}'\n")
    hidden = "*" * len(secret)
    assert mask_around(cut) == (f"a = '{hidden}'\nb = '{secret}", f"{secret}'\nc = '{hidden}'\n")


@given(st.text(alphabet="ab=:'\"\n\r tokenpaswrd1234{", max_size=200))
def test_masking_keeps_lengths_and_lines_and_is_done_once(text: str) -> None:
    masked = mask_text(text)
    assert [len(line) for line in masked.split("\n")] == [len(line) for line in text.split("\n")]
    assert mask_text(masked) == masked


PIECES = [*(secret for _, secret in SECRETS), "password", "API_KEY", "token", "Bearer ", "basic ", "://", "u:p@", "sk-"]
PIECES += ["=", " = ", ": str = ", '"', "'", ";", "#", " ", "a", "AC", "SG.", "eyJ", "key-", "SIG=", "x" * 30, "é", "ı"]


@given(st.lists(st.sampled_from(PIECES), max_size=8))
def test_what_is_not_looked_at_closely_holds_no_secret(pieces: list[str]) -> None:
    line = "".join(pieces)
    quick = masking._mask_line.__wrapped__(line)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masking, "_may_hold_token", lambda _: True)
        patch.setattr(masking, "_may_name_secret", lambda _: True)
        assert masking._mask_line.__wrapped__(line) == quick


@pytest.mark.parametrize("unit", ["a", "key", "token_", "token.", "a.", "sk-", "://a:b", "; pwd", "token:'", "#", " "])
def test_no_long_line_takes_for_ever(unit: str) -> None:
    """An expression that goes back over a line again and again would take minutes, in the event loop."""
    line = (unit * 20_000)[:20_000]
    assert len(mask_text(f"{line} token = {line}://")) == 2 * len(line) + 12
