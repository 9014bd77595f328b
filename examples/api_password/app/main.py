"""Needs a user and a password; the password is made in the CAS and seen by nobody."""

import os

user, password = os.environ["API_USER"], os.environ["API_PASSWORD"]
print("user", user, "- a password of", len(password), "characters")
