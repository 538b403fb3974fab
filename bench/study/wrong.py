"""A mistake in a study that is not the field's own: it says where it is, so that its line can be found."""

from __future__ import annotations

from pydantic_core import PydanticCustomError


def wrong(message: str, *at: str | int) -> PydanticCustomError:
    """An error for a validator to raise: one line for the user, and the path to what is wrong with the study."""
    return PydanticCustomError("study", "{message}", {"message": message, "at": at})
