"""Settings of the command line as a client."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from btworker.config.parsing import cache_folder, env, read_tokens


class ClientSettings(BaseSettings):
    """Where the command line finds a worker; each is also an option of every command that needs one."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True)

    url: str | None = Field(None, validation_alias=env("WORKER_URL"))
    """The worker's address, like http://gpu-box:8477."""
    token: SecretStr | None = Field(None, validation_alias=env("WORKER_TOKEN"))
    """The worker's bearer token."""
    token_file: Path | None = Field(None, validation_alias=env("WORKER_TOKEN_FILE"))
    """A file whose first word is the token."""

    @property
    def upload_memory(self) -> Path:
        """Where the command line remembers the uploads that were broken off."""
        return cache_folder("btworker") / "uploads"

    @property
    def first_token(self) -> str | None:
        """The token to send. Raises ValueError when the token file cannot be read."""
        if self.token:
            return self.token.get_secret_value()
        return next(iter(read_tokens(self.token_file)), None)
