"""The same examples in every run, and the template's package under the name `package_name`."""

import helpers.package  # noqa: F401  makes `package_name` importable, for every file of tests
from hypothesis import settings

settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile("same")
