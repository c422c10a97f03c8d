"""What this machine has for building and running containers, and how it is told to a build.

A site without the internet has base images and an index of packages of its own. Here that is found
out the way a person would say it: from the environment, and from what pip is configured with.
"""

from __future__ import annotations

import os
import shutil
import subprocess

from tests.support.rabbitmq_container import docker
from tests.support.rabbitmq_node import NodeError

PYTHON_IMAGE = "python:3.11-slim-bookworm"
RABBITMQ_IMAGE = "rabbitmq:4-management"
PULL_LIMIT_S = 120.0
_ASKED_S = 20.0
_PASSED_ON = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST")


class NoEngineError(Exception):
    """Containers cannot be had here; the message says what is missing."""


def compose_command() -> list[str]:
    """Compose, of whichever generation is here.

    Raises:
        NoEngineError: There is none, or no engine answers.
    """
    if shutil.which("docker") is None:
        raise NoEngineError("there is no docker")
    try:
        docker("version", "--format", "{{.Server.Version}}")
    except NodeError as error:
        raise NoEngineError(f"no Docker engine answers ({error})") from error
    if _works(["docker", "compose", "version"]):
        return ["docker", "compose"]
    if shutil.which("docker-compose") is not None:
        return ["docker-compose"]
    raise NoEngineError("there is neither `docker compose` nor docker-compose")


def require_images() -> None:
    """Have the base images, fetched if that is quick.

    Raises:
        NoEngineError: One is not here and cannot be fetched.
    """
    for image in (python_image(), rabbitmq_image()):
        if _works(["docker", "image", "inspect", image]):
            continue
        try:
            subprocess.run(
                ["docker", "pull", "--quiet", image],
                check=True,
                capture_output=True,
                timeout=PULL_LIMIT_S,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise NoEngineError(f"the image {image} is not here and cannot be fetched") from error


def python_image() -> str:
    """The base image of ours."""
    return os.environ.get("PYTHON_IMAGE") or PYTHON_IMAGE


def rabbitmq_image() -> str:
    """The broker's image."""
    return os.environ.get("RABBITMQ_IMAGE") or RABBITMQ_IMAGE


def build_variables() -> dict[str, str]:
    """The variables of deploy/compose.yaml that say where packages come from on this machine."""
    found = {"PYTHON_IMAGE": python_image(), "RABBITMQ_IMAGE": rabbitmq_image()}
    found.update({name: os.environ[name] for name in _PASSED_ON if os.environ.get(name)})
    if "TORCH_INDEX_URL" in os.environ:
        found["TORCH_INDEX_URL"] = os.environ["TORCH_INDEX_URL"]
    elif _base_has_packages_of_its_own():
        found["TORCH_INDEX_URL"] = ""
    return found


def _base_has_packages_of_its_own() -> bool:
    """Whether the base image's pip is told where to look, as a site does that has CPU builds."""
    command = ("run", "--rm", "--entrypoint", "python", python_image(), "-m", "pip", "config")
    listed = docker(*command, "list")
    return any(key in listed for key in ("find-links", "index-url"))


def _works(command: list[str]) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, timeout=_ASKED_S)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
