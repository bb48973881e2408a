"""What a client may subscribe to, and the filter of the Pub/Sub subscription."""

from __future__ import annotations

import pytest

from sluice.documents.ingestions import State
from sluice.errors import BodyError, TooLargeError
from sluice.gcloud.push_subscriptions import SubscriptionSpec, check_spec


@pytest.mark.parametrize(
    ("dataset", "states", "text"),
    [
        (None, (), ""),
        ("plays", (), 'attributes.dataset = "plays"'),
        (None, ("done",), 'attributes.state = "done"'),
        (None, ("done", "failed"), 'attributes.state = "done" OR attributes.state = "failed"'),
        (
            "plays",
            ("done", "failed"),
            (
                'attributes.dataset = "plays"'
                ' AND (attributes.state = "done" OR attributes.state = "failed")'
            ),
        ),
    ],
)
def test_a_spec_has_a_filter(dataset: str | None, states: tuple[str, ...], text: str) -> None:
    assert SubscriptionSpec("https://example.com", dataset, states).filter == text


def test_a_filter_longer_than_pubsub_allows_is_refused() -> None:
    with pytest.raises(TooLargeError, match="allows 256"):
        _ = SubscriptionSpec("https://example.com", "plays", tuple(State)).filter


@pytest.mark.parametrize(
    "endpoint", ["https://example.com/hook", "http://localhost:9000/", "http://127.0.0.1/x"]
)
def test_https_and_localhost_are_accepted(endpoint: str) -> None:
    assert check_spec(endpoint, None, [], allows_local=True).endpoint == endpoint


@pytest.mark.parametrize(
    "endpoint",
    ["http://example.com", "ftp://example.com", "example.com", "", "https://", "http://[x"],
)
def test_other_endpoints_are_refused(endpoint: str) -> None:
    with pytest.raises(BodyError, match="endpoint"):
        check_spec(endpoint, None, [], allows_local=True)


def test_an_unknown_state_is_refused() -> None:
    with pytest.raises(BodyError, match="finished"):
        check_spec("https://example.com", None, ["finished"], allows_local=True)
