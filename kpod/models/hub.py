"""Upload of an exported student to the Hugging Face hub."""

from pathlib import Path

from kpod.errors import ConfigError, ModelError


def push(folder: Path, repository: str) -> str:
    """Create the private `repository` (ORG/NAME) if it is missing and upload `folder`; returns its address.

    Raises ConfigError if the name is invalid, ModelError without a network, a token or the right to write.
    """
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    api = HfApi()
    try:
        api.create_repo(repository, private=True, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Student of kpod")
    except HFValidationError as error:
        raise ConfigError(f"--push-to-hub: {repository} is not written as ORG/NAME") from error
    except (HfHubHTTPError, OfflineModeIsEnabled, httpx.HTTPError, OSError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(f"--push-to-hub: {repository} cannot be written ({reason}); {folder} is complete") from None
    return f"{api.endpoint}/{repository}"


def check_name(repository: str) -> None:
    """Raise ConfigError if `repository` is not ORG/NAME, before anything is exported."""
    organisation, _, name = repository.partition("/")
    if not organisation or not name or "/" in name:
        raise ConfigError(f"--push-to-hub: write ORG/NAME, not {repository!r}")
