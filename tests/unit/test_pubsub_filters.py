"""The filter language of subscriptions."""

import pytest

from sluice.local.pubsub.errors import InvalidArgumentError
from sluice.local.pubsub.filters import compile_filter


@pytest.mark.parametrize(
    ("text", "attributes", "is_match"),
    [
        pytest.param("", {}, True, id="no filter"),
        pytest.param("attributes:state", {"state": ""}, True, id="key present"),
        pytest.param("attributes:state", {"State": "x"}, False, id="keys are case sensitive"),
        pytest.param('attributes.state = "done"', {"state": "done"}, True, id="equal"),
        pytest.param('attributes.state="done"', {"state": "Done"}, False, id="not equal"),
        pytest.param('attributes.state != "done"', {"state": "failed"}, True, id="unequal"),
        pytest.param('attributes.state != "done"', {}, True, id="unequal when absent"),
        pytest.param('hasPrefix(attributes.file, "in/")', {"file": "in/a"}, True, id="prefix"),
        pytest.param('hasPrefix(attributes.file, "")', {}, False, id="prefix of an absent key"),
        pytest.param('NOT hasPrefix(attributes.file, "in/")', {"file": "x"}, True, id="not prefix"),
        pytest.param("-attributes:state", {}, True, id="minus is NOT"),
        pytest.param("NOT attributes:a AND attributes:b", {"b": ""}, True, id="NOT binds closest"),
        pytest.param("attributes:a AND attributes:b", {"a": ""}, False, id="and"),
        pytest.param("attributes:a OR attributes:b OR attributes:c", {"c": ""}, True, id="or"),
        pytest.param(
            'attributes:d AND (attributes.s = "a" OR attributes.s = "b")',
            {"d": "", "s": "b"},
            True,
            id="parentheses",
        ),
        pytest.param('attributes."iana.org/tag" = "en"', {"iana.org/tag": "en"}, True, id="quoted"),
        pytest.param('attributes:"AND"', {"AND": ""}, True, id="a quoted operator is a key"),
        pytest.param("attributes:x-y_9", {"x-y_9": ""}, True, id="hyphen in a key"),
        pytest.param(r'attributes.a = "\"\\"', {"a": '"\\'}, True, id="escaped quote"),
        pytest.param(r'attributes:"\u307F\u3093"', {"みん": ""}, True, id="unicode escape"),
        pytest.param(r'attributes.a = "\x41\102"', {"a": "AB"}, True, id="hex and octal escapes"),
    ],
)
def test_a_filter_matches_by_attributes(text, attributes, is_match):
    assert compile_filter(text)(attributes) is is_match


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("attributes:a AND attributes:b OR attributes:c", id="AND mixed with OR"),
        pytest.param('"com" = attributes.name', id="value first"),
        pytest.param("attributes.name = attributes.site", id="two keys"),
        pytest.param('attributes.name = "com" AND ("net" OR "org")', id="incomplete expressions"),
        pytest.param("attributes.name = com", id="bare value"),
        pytest.param('data = "x"', id="not an attribute"),
        pytest.param("attributes:a and attributes:b", id="lower case operator"),
        pytest.param("(attributes:a", id="open parenthesis"),
        pytest.param('attributes.a = "x', id="open string"),
        pytest.param('hasSuffix(attributes.a, "x")', id="unknown function"),
    ],
)
def test_a_filter_outside_the_language_is_refused(text):
    with pytest.raises(InvalidArgumentError, match="Invalid filter syntax at position"):
        compile_filter(text)


def test_a_filter_may_have_256_bytes_and_no_more():
    text = 'attributes.a = "' + "x" * 239 + '"'
    assert compile_filter(text)({"a": "x" * 239})
    with pytest.raises(InvalidArgumentError, match="maximum value is 256"):
        compile_filter(text.replace("x", "xx", 1))
