"""Tag this commit when pyproject.toml has a version that no tag has, and push the tag.

The section of CHANGELOG.md becomes the tag's message. Copier updates projects to the newest tag.

python tools/release.py
"""

import re
import subprocess
import sys
import tomllib

# Whoever runs this, the tag is the repository's own.
TAGGER = ("-c", "user.name=Release", "-c", "user.email=release@localhost")


def git(*arguments: str, text: str | None = None) -> str:
    """Run git and return what it prints; where it fails, it has said why."""
    command = ["git", *arguments]
    done = subprocess.run(command, input=text, stdout=subprocess.PIPE, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else sys.exit(done.returncode)


def numbers(version: str) -> list[int]:
    """Return the three numbers of a version, to compare it with another."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        sys.exit(f"{version} is no version: give three numbers, as 0.1.0")
    return [int(part) for part in version.split(".")]


def notes(changelog: str, version: str) -> str:
    """Return what the changelog says of a version."""
    found = re.search(rf"^## {re.escape(version)}\n(.*?)(?=^## |\Z)", changelog, re.M | re.S)
    if not found or not found[1].strip():
        sys.exit(f"CHANGELOG.md says nothing of {version}: write what is new, under `## {version}`")
    return found[1].strip()


def main() -> None:
    """Tag and push, or say why not."""
    with open("pyproject.toml", "rb") as file:
        version: str = tomllib.load(file)["project"]["version"]
    new = numbers(version)
    with open("CHANGELOG.md", encoding="utf-8") as file:
        message = f"Version {version}\n\n{notes(file.read(), version)}\n"
    tags = git("ls-remote", "--tags", "--refs", "origin")
    tagged = re.findall(r"refs/tags/v(\d+\.\d+\.\d+)$", tags, re.MULTILINE)
    if version in tagged:
        print(f"v{version} is tagged already")
        return
    if tagged and new < (newest := max(map(numbers, tagged))):
        sys.exit(f"{version} is older than the newest tag, v{'.'.join(map(str, newest))}")
    annotated = ("--annotate", "--force", "--cleanup=whitespace", "--file=-")
    git(*TAGGER, "tag", *annotated, f"v{version}", text=message)
    git("push", "--quiet", "origin", f"refs/tags/v{version}")
    print(f"v{version} is released")


if __name__ == "__main__":
    main()
