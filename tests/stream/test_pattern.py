"""Patterns of FilterCriteria: every documented operator, with its source; what is refused; and random ones against a model.

Sources by their short names: "Lambda" is "Control which events Lambda sends to your function", "Lambda, Kinesis" is "Using
event filtering with a Kinesis event source" (Lambda developer guide); "EventBridge" is "Event pattern syntax" and "Comparison
operators" (EventBridge user guide); "Ruler" is the README of github.com/aws/event-ruler, or its tests where it says so.
"""

import itertools
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench.errors import SettingError
from workbench.stream.mapping import EventSourceMapping
from workbench.stream.pattern import compile_pattern

_patiently = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure
_OR = {"$or": [{"Location": ["New York"]}, {"Day": ["Monday"]}]}
_EMPLOYEES = {
    "employees": [
        {"firstName": "John", "lastName": "Doe"},
        {"firstName": "Anna", "lastName": "Smith"},
        {"firstName": "Peter", "lastName": "Jones"},
    ]
}
_DEPARTMENTS = {"employees": [_EMPLOYEES["employees"][:2], _EMPLOYEES["employees"][2:]]}


def _matches(pattern, event):
    """What ``pattern`` says of ``event`` as the data of a record."""
    return compile_pattern(json.dumps({"data": pattern}))(json.dumps(event).encode())


# (source, pattern, events that match, events that do not)
_DOCUMENTED = [
    ("Lambda: Null", {"UserID": [None]}, [{"UserID": None}], [{"UserID": ""}, {"UserID": "null"}, {}, {"UserID": []}]),
    ("Lambda: Empty", {"LastName": [""]}, [{"LastName": ""}], [{"LastName": None}, {"LastName": " "}, {}]),
    ("Lambda: Equals", {"Name": ["Alice"]}, [{"Name": "Alice", "Age": 3}], [{"Name": "alice"}, {"name": "Alice"}, {"Name": ""}]),
    (
        "Lambda: Equals (ignore case)",
        {"Name": [{"equals-ignore-case": "alice"}]},
        [{"Name": "Alice"}, {"Name": "ALICE"}],
        [{"Name": "Alices"}, {"Name": 1}, {}],
    ),
    (
        "Lambda: And",
        {"Location": ["New York"], "Day": ["Monday"]},
        [{"Location": "New York", "Day": "Monday"}],
        [{"Location": "New York", "Day": "Tuesday"}, {"Location": "Boston", "Day": "Monday"}, {"Day": "Monday"}],
    ),
    (
        "Lambda: Or",
        {"PaymentType": ["Credit", "Debit"]},
        [{"PaymentType": "Credit"}, {"PaymentType": "Debit"}],
        [{"PaymentType": "Cash"}, {"PaymentType": "CreditDebit"}],
    ),
    (
        "Lambda: Or (multiple fields)",
        _OR,
        [{"Location": "New York", "Day": "Friday"}, {"Day": "Monday"}],
        [{"Location": "Boston", "Day": "Friday"}, {}],
    ),
    (
        "Lambda: Not",
        {"Weather": [{"anything-but": ["Raining"]}]},
        [{"Weather": "Sunny"}, {"Weather": None}, {"Weather": 3}],
        [{"Weather": "Raining"}, {}, {"Weather": {"is": "Sunny"}}],
    ),
    ("Lambda: Numeric (equals)", {"Price": [{"numeric": ["=", 100]}]}, [{"Price": 100}, {"Price": 1e2}], [{"Price": "100"}, {}]),
    (
        "Lambda: Numeric (range)",
        {"Price": [{"numeric": [">", 10, "<=", 20]}]},
        [{"Price": 10.000001}, {"Price": 15}, {"Price": 20.0}],
        [{"Price": 10}, {"Price": 20.000001}, {"Price": "15"}, {"Price": True}, {"Price": None}],
    ),
    (
        "Lambda: Exists",
        {"ProductName": [{"exists": True}]},
        [{"ProductName": "Tea"}, {"ProductName": None}, {"ProductName": False}],
        [{"Product": "Tea"}],
    ),
    ("Lambda: Does not exist", {"ProductName": [{"exists": False}]}, [{"Product": "Tea"}, {}], [{"ProductName": None}]),
    (
        "Lambda: Begins with",
        {"Region": [{"prefix": "us-"}]},
        [{"Region": "us-east-1"}, {"Region": "us-"}],
        [{"Region": "eu-us-"}],
    ),
    (
        "Lambda: Ends with",
        {"FileName": [{"suffix": ".png"}]},
        [{"FileName": "a.png"}],
        [{"FileName": "a.PNG"}, {"FileName": "png"}],
    ),
    (
        "Lambda, Kinesis: the order's type",
        {"order": {"type": ["buy"]}},
        [{"record": 12345, "order": {"type": "buy", "stock": "ANYCO", "quantity": 1000}}],
        [{"record": 12345, "order": {"type": "sell"}}, {"order": "buy"}, {"type": "buy"}],
    ),
    (
        "Lambda: multi-level filtering",
        {"Keys": {"Id": {"N": ["101"]}}},
        [{"Keys": {"Id": {"N": "101"}}}],
        [{"Keys": {"Id": {"N": 101}}}, {"Keys": {"Id": "101"}}],
    ),
    (
        "EventBridge: begins with (ignore case)",
        {"service": [{"prefix": {"equals-ignore-case": "EventB"}}]},
        [{"service": "EVENTBRIDGE"}, {"service": "eventb"}],
        [{"service": "event"}],
    ),
    (
        "EventBridge: ends with (ignore case)",
        {"FileName": [{"suffix": {"equals-ignore-case": ".png"}}]},
        [{"FileName": "a.PNG"}, {"FileName": "a.png"}],
        [{"FileName": "a.jpg"}],
    ),
    (
        "EventBridge: anything but a string or a number",
        {"state": [{"anything-but": "initializing"}], "x-limit": [{"anything-but": 123}]},
        [{"state": "running", "x-limit": 124}, {"state": "running", "x-limit": "123"}],
        [{"state": "initializing", "x-limit": 124}, {"state": "running", "x-limit": 123.0}],
    ),
    (
        "EventBridge: anything but a list of numbers",
        {"x-limit": [{"anything-but": [100, 200, 300]}]},
        [{"x-limit": 150}],
        [{"x-limit": 200}, {}],
    ),
    (
        "EventBridge: anything but (begins with)",
        {"state": [{"anything-but": {"prefix": "init"}}]},
        [{"state": "running"}, {"state": 12}, {"state": None}],
        [{"state": "initializing"}, {}],
    ),
    (
        "EventBridge: anything but (begins with), a list",
        {"state": [{"anything-but": {"prefix": ["init", "error"]}}]},
        [{"state": "running"}],
        [{"state": "initializing"}, {"state": "errors"}],
    ),
    (
        "EventBridge: anything but (ends with), one and a list",
        {"FileName": [{"anything-but": {"suffix": ".txt"}}], "Copy": [{"anything-but": {"suffix": [".txt", ".rtf"]}}]},
        [{"FileName": "a.txt.bak", "Copy": "a.doc"}],
        [{"FileName": "a.txt", "Copy": "a.doc"}, {"FileName": "a.doc", "Copy": "a.rtf"}],
    ),
    (
        "EventBridge: anything but (ignore case), one and a list",
        {
            "state": [{"anything-but": {"equals-ignore-case": "stopped"}}],
            "was": [{"anything-but": {"equals-ignore-case": ["a", "b"]}}],
        },
        [{"state": "running", "was": "c"}],
        [{"state": "STOPPED", "was": "c"}, {"state": "running", "was": "B"}],
    ),
    (
        "EventBridge: a complex pattern",
        {
            "time": [{"prefix": "2017-10-02"}],
            "state": [{"anything-but": "initializing"}],
            "c-count": [{"numeric": [">", 0, "<=", 5]}],
            "d-count": [{"numeric": ["<", 10]}],
            "x-limit": [{"anything-but": [100, 200, 300]}],
        },
        [{"time": "2017-10-02T16:24:49Z", "state": "running", "c-count": 5, "d-count": 3, "x-limit": 301.8}],
        [
            {"time": "2017-10-02T16:24:49Z", "state": "running", "c-count": 0, "d-count": 3, "x-limit": 301.8},
            {"time": "2017-10-02T16:24:49Z", "state": "running", "c-count": 5, "d-count": 3, "x-limit": 300},
        ],
    ),
    (
        "EventBridge: $or with other operators",
        {
            "$or": [
                {"c-count": [{"numeric": [">", 0, "<=", 5]}]},
                {"d-count": [{"numeric": ["<", 10]}]},
                {"x-limit": [{"numeric": ["=", 3.018e2]}]},
            ]
        },
        [{"c-count": 0, "d-count": 0, "x-limit": 901.8}, {"x-limit": 301.8}],
        [{"c-count": 0, "d-count": 10, "x-limit": 901.8}],
    ),
    (
        "Ruler: $or nested, with an and inside",
        {
            "source": ["cloudwatch"],
            "$or": [
                {"metric": ["CPU"]},
                {"type": ["T"], "namespace": ["EC2"], "$or": [{"id": [1234]}, {"space": [1000]}]},
                {"scope": ["Service"]},
            ],
        },
        [
            {"source": "cloudwatch", "metric": "CPU"},
            {"source": "cloudwatch", "type": "T", "namespace": "EC2", "space": 1000},
            {"source": "cloudwatch", "scope": "Service"},
        ],
        [{"metric": "CPU"}, {"source": "cloudwatch", "type": "T", "namespace": "EC2"}, {"source": "cloudwatch", "id": 1234}],
    ),
    (
        "Ruler: two $or side by side",
        {"$or": [{"a": [1]}, {"b": [1]}], "detail": {"$or": [{"c": [1]}, {"d": [1]}]}},
        [{"b": 1, "detail": {"c": 1}}, {"a": 1, "detail": {"d": 1}}],
        [{"a": 1, "b": 1, "detail": {}}, {"detail": {"c": 1, "d": 1}}],
    ),
    (
        "EventBridge: arrays, any value in common",
        {"resources": ["i-1", "i-2"]},
        [{"resources": ["asg", "i-1"]}, {"resources": [["i-2"], "asg"]}, {"resources": "i-1"}],
        [{"resources": ["asg"]}, {"resources": []}, {"resources": {"0": "i-1"}}],
    ),
    (
        "EventBridge: arrays, each operator asks for any element",
        {"n": [{"numeric": [">", 5]}], "s": [{"anything-but": "banned"}]},
        [{"n": [1, 6], "s": ["banned", "active"]}],
        [{"n": [1, 2], "s": ["active"]}, {"n": [6], "s": ["banned"]}, {"n": [6], "s": []}],
    ),
    (
        "EventBridge: exists is about leaves, not about objects",
        {"c-count": [{"exists": True}]},
        [{"c-count": 1}, {"c-count": [None]}],
        [{"c-count": {"c1": 100}}, {"c-count": []}, {"c-count": [{"c1": 100}]}, {"c-count": {}}],
    ),
    (
        "Ruler: exists false matches an object, as that is no leaf",
        {"c-count": [{"exists": False}]},
        [{"state": "running"}, {"c-count": {"c1": 100}}, {"c-count": []}],
        [{"c-count": 1}, {"c-count": [{}, 1]}],
    ),
    (
        "EventBridge: exists false below a field that is missing or plain",
        {"level1": {"level2": {"level3": [{"exists": False}]}}},
        [{}, {"level1": {}}, {"level1": {"level2": "a value"}}, {"level1": 5}, {"level1": []}],
        [{"level1": {"level2": {"level3": 0}}}, {"level1": [{}, {"level2": [{"level3": 0}]}]}],
    ),
    (
        "Lambda: a field absent or anything but",
        {"NewImage": {"S": [{"anything-but": ["roses"]}, {"exists": False}]}},
        [{"NewImage": {"S": "ABCD"}}, {"NewImage": {"N": "789"}}, {}],
        [{"NewImage": {"S": "roses"}}],
    ),
    ("Ruler: crushed arrays", {"employees": {"firstName": ["Anna"]}}, [_EMPLOYEES, _DEPARTMENTS], [{"employees": ["Anna"]}]),
    (
        "Ruler: two fields in one element of an array",
        {"employees": {"firstName": ["Anna"], "lastName": ["Smith"]}},
        [_EMPLOYEES, _DEPARTMENTS],
        [{"employees": [{"firstName": "Anna"}, {"lastName": "Smith"}]}],
    ),
    ("Ruler: not in two", {"employees": {"firstName": ["Anna"], "lastName": ["Jones"]}}, [], [_EMPLOYEES, _DEPARTMENTS]),
    (
        "Ruler's tests: exists false within the element",
        {"d": {"a": [{"exists": True}], "b": [{"exists": False}]}},
        [{"d": [{"a": 1}]}, {"d": [{"a": 1}, {"b": 2}]}],
        [{"d": [{"a": 1, "b": 2}]}, {"d": []}],
    ),
    (
        "Ruler: exists false alone, within no element",
        {"d": {"b": [{"exists": False}]}},
        [{"d": [{"a": 1}, {"c": 1}]}, {"d": []}],
        [{"d": [{"a": 1}, {"b": 2}]}],
    ),
    (
        "Ruler: exists false before the field that chooses the element, by name",
        {"d": {"a": [{"exists": False}], "b": [1]}},
        [{"d": [{"b": 1}, {"c": 1}]}],
        [{"d": [{"b": 1}, {"a": 1}]}],
    ),
    (
        "EventBridge: a dot joins names, in the pattern",
        {"state.status": ["running"]},
        [{"state": {"status": "running"}}, {"state.status": "running"}],
        [{"state": "running"}, {"status": "running"}, {"state.status": {"status": "running"}}],
    ),
    (
        "EventBridge: a dot joins names, in the event",
        {"state": {"status": ["running"], "code": [1]}},
        [
            {"state": {"status": "running", "code": 1}},
            {"state.status": "running", "state.code": 1},
            {"state.status": "running", "state": {"code": 1}},
            {"state.status": "running", "state": {"status": "idle", "code": 1}},
        ],
        [{"state.status": "running"}, {"state.status": {"status": "running"}, "state.code": 1}],
    ),
    (
        "EventBridge: a string of JSON is a string",
        {"detail": {"key": ["v"]}},
        [{"detail": {"key": "v"}}],
        [{"detail": '{"key": "v"}'}],
    ),
    (
        "EventBridge: strings character by character",
        {"s": ["CamelCase 🚀 and a blank "]},
        [{"s": "CamelCase 🚀 and a blank "}],
        [{"s": "CamelCase 🚀 and a blank"}, {"s": "Camelcase 🚀 and a blank "}],
    ),
    ("Ruler: numbers by value", {"n": [300]}, [{"n": 300}, {"n": 300.0}, {"n": 3.0e2}], [{"n": "300"}, {"n": 300.0000001}]),
    ("Ruler's tests: numbers of any size", {"account": [123456789012]}, [{"account": 123456789012}], [{"account": 123456789013}]),
    (
        "EventBridge: JSON's types are strict",
        {"b": [False]},
        [{"b": False}],
        [{"b": 0}, {"b": "false"}, {"b": None}, {"b": True}],
    ),
    ("EventBridge: 1 is not true", {"n": [1]}, [{"n": 1}], [{"n": True}, {"n": "1"}]),
    ("EventBridge: anything but 1 is true, too", {"n": [{"anything-but": 1}]}, [{"n": True}, {"n": "1"}], [{"n": 1.0}]),
    ("Ruler: an empty prefix is any string", {"s": [{"prefix": ""}]}, [{"s": "a"}, {"s": ""}], [{"s": 1}, {"s": None}, {}]),
    ("Ruler: an empty suffix is any string", {"s": [{"suffix": ""}]}, [{"s": "a"}, {"s": ""}], [{"s": 1}, {}]),
    (
        "Ruler: values and operators mixed, one is enough",
        {"v": ["x", 7, {"prefix": "p"}, {"numeric": [">=", 100]}]},
        [{"v": "x"}, {"v": 7}, {"v": "pq"}, {"v": 100}, {"v": [1, 100]}],
        [{"v": "y"}, {"v": 8}, {"v": "7"}],
    ),
    (
        "Ruler: every sign",
        {
            "a": [{"numeric": ["<", 1]}],
            "b": [{"numeric": ["<=", 1]}],
            "c": [{"numeric": [">", 1]}],
            "d": [{"numeric": [">=", 1]}],
            "e": [{"numeric": [">=", 1, "<", 2]}],
        },
        [{"a": 0, "b": 1, "c": 2, "d": 1, "e": 1}],
        [
            {"a": 1, "b": 1, "c": 2, "d": 1, "e": 1},
            {"a": 0, "b": 1, "c": 1, "d": 1, "e": 1},
            {"a": 0, "b": 1, "c": 2, "d": 1, "e": 2},
        ],
    ),
]


@pytest.mark.parametrize(("pattern", "event"), [(p, e) for _, p, yes, _ in _DOCUMENTED for e in yes])
def test_what_the_documentation_says_matches(pattern, event):
    assert _matches(pattern, event) is True


@pytest.mark.parametrize(("pattern", "event"), [(p, e) for _, p, _, no in _DOCUMENTED for e in no])
def test_what_the_documentation_says_does_not_match(pattern, event):
    assert _matches(pattern, event) is False


# --- the data ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"not JSON", b"\xff\xfe", b'{"a": 1', b"{'a': 1}", b'{"a": NaN}', b"\x00", b'"\xff"'])
def test_data_that_are_no_json_are_dropped_whatever_the_pattern(data):
    # Lambda, Kinesis: "Non-JSON" data, "Valid JSON" pattern: "Lambda drops the record"
    assert compile_pattern('{"data": {"a": [{"exists": false}]}}')(data) is False
    assert compile_pattern('{"data": {"a": [1]}}')(data) is False


@pytest.mark.parametrize("data", [b"5", b'"text"', b"null", b"true", b"[]", b"[1, 2]", b"{}"])
def test_json_without_fields_matches_only_what_asks_for_their_absence(data):
    assert compile_pattern('{"data": {"a": [{"exists": false}]}}')(data) is True
    assert compile_pattern('{"data": {"a": [1]}}')(data) is False


def test_an_array_of_objects_matches_as_its_elements_do():
    assert _matches({"a": [1], "b": [2]}, [{"a": 2}, {"a": 1, "b": 2}])
    assert not _matches({"a": [1], "b": [2]}, [{"a": 1}, {"b": 2}])


def test_of_a_field_given_twice_the_last_counts():
    # Lambda, "Duplicate keys"
    matches = compile_pattern('{"data": {"duplicateKey": ["hello"], "uniqueKey": ["test123"], "duplicateKey": ["world"]}}')
    assert matches(b'{"uniqueKey": "test123", "duplicateKey": "world"}')
    assert not matches(b'{"uniqueKey": "test123", "duplicateKey": "hello"}')


def test_a_dotted_name_may_lead_into_the_data():
    assert compile_pattern('{"data.order.type": ["buy"]}')(b'{"order": {"type": "buy"}}')
    assert compile_pattern('{"$or": [{"data": {"a": [1]}}, {"data": {"b": [1]}}]}')(b'{"b": 1}')


def test_data_nested_deeper_than_the_decoder_goes_are_dropped():
    matches = compile_pattern('{"data": {"a": [{"exists": false}]}}')
    assert matches(b"[" * 100_000 + b"]" * 100_000) is False
    assert matches(b'{"a":' * 100_000 + b"1" + b"}" * 100_000) is False


def test_arrays_in_arrays_are_walked_without_recursion():
    depth = 300
    assert compile_pattern('{"data": {"a": [1]}}')(b'{"a":' + b"[" * depth + b"1" + b"]" * depth + b"}")
    assert compile_pattern('{"data": {"a": [1]}}')(b"[" * depth + b'{"a": 1}' + b"]" * depth)


def test_the_deepest_pattern_is_matched():
    pattern, event = [1], 1
    for _ in range(99):
        pattern, event = {"a": pattern}, {"a": [event]}
    assert _matches(pattern, event)
    assert _matches({".".join(["a"] * 99): [1]}, event)


def test_one_pattern_is_many_predicates_worth_of_records():
    matches = compile_pattern('{"data": {"n": [{"numeric": [">", 1]}]}}')
    assert [matches(b'{"n": %d}' % n) for n in (1, 2, 1, 3)] == [False, True, False, True]


# --- what is refused --------------------------------------------------------------------------------------------------------


def _refused(text):
    with pytest.raises(SettingError) as caught:
        compile_pattern(text)
    assert caught.value.name == "filters" and "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    "text", ["", "single-string", "{", '{"data": {"a": [1]}', "{'data': {'a': [1]}}", '[{"a": ["b"=1}]', "\ud800"]
)
def test_a_pattern_that_is_no_json_is_refused(text):
    # Lambda, Kinesis: a "Non-JSON" pattern: "Lambda throws an exception at the time of the event source mapping creation"
    assert _refused(text).allowed == "a pattern is a JSON object"


@pytest.mark.parametrize("text", ["null", "5", '"data"', "[]", '[{"data": {"a": [1]}}]', "{}"])
def test_a_pattern_is_an_object_with_fields(text):
    assert _refused(text).allowed == "a pattern is a JSON object with at least one field"


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ('{"partitionKey": ["1"]}', "a Kinesis event source filters on data only, not on partitionKey"),
        ('{"data": {"a": [1]}, "partitionKey": ["1"]}', "a Kinesis event source filters on data only, not on partitionKey"),
        ('{"kinesis": {"data": {"a": [1]}}}', "a Kinesis event source filters on data only, not on kinesis"),
        (
            '{"$or": [{"data": {"a": [1]}}, {"eventName": ["x"]}]}',
            "a Kinesis event source filters on data only, not on eventName",
        ),
        ('{"data": ["text"]}', "data is an object of the fields to match, as the records' data are JSON"),
        ('{"data": [{"exists": true}]}', "data is an object of the fields to match, as the records' data are JSON"),
    ],
)
def test_only_fields_of_the_data_can_be_asked_for(text, allowed):
    # Lambda, Kinesis: "Kinesis event source mappings only support filtering on the data key"
    assert _refused(text).allowed == allowed


_VALUES = "data.a: a field takes an object, or an array of one or more values and operators"
_ONE = "data.a: an operator is an object with one of anything-but, equals-ignore-case, exists, numeric, prefix or suffix"
_NUMERIC = 'data.a: numeric takes a sign and a number, as [">=", 1], or a range with the lower bound first, as [">", 0, "<=", 5]'
_BUT = "data.a: anything-but takes a string, a number, an array of strings or of numbers, or one operator on strings"
_BUT_TEXT = "data.a: anything-but takes equals-ignore-case, or prefix or suffix that are not empty, of a string or of strings"


def _no_operator(name):
    return f"data.a: {name} is no operator: one of anything-but, equals-ignore-case, exists, numeric, prefix or suffix"


@pytest.mark.parametrize(
    ("field", "allowed"),
    [
        (1, _VALUES),
        ("x", _VALUES),
        (None, _VALUES),
        (True, _VALUES),
        ([], _VALUES),
        ([["x"]], _VALUES),
        ({}, "data.a is a JSON object with at least one field"),
        ({"b": {}}, "data.a.b is a JSON object with at least one field"),
        ([{}], _ONE),
        ([{"prefix": "x", "suffix": "y"}], _ONE),
        ([{"exists": True, "x": 1}], _ONE),
        ([{"foo": "x"}], _no_operator("foo")),
        ([{"EXISTS": True}], _no_operator("EXISTS")),
        ([{"wildcard": "a*"}], _no_operator("wildcard")),
        ([{"cidr": "10.0.0.0/24"}], _no_operator("cidr")),
        ([{"exists": "true"}], "data.a: exists takes true or false"),
        ([{"exists": 0}], "data.a: exists takes true or false"),
        ([{"prefix": 3}], "data.a: prefix takes a string or equals-ignore-case"),
        ([{"prefix": ["x"]}], "data.a: prefix takes a string or equals-ignore-case"),
        ([{"suffix": None}], "data.a: suffix takes a string or equals-ignore-case"),
        ([{"suffix": {"prefix": "x"}}], "data.a: suffix takes a string or equals-ignore-case"),
        ([{"prefix": {"equals-ignore-case": 5}}], "data.a: prefix takes a string or equals-ignore-case"),
        ([{"prefix": {"equals-ignore-case": "x", "y": "z"}}], "data.a: prefix takes a string or equals-ignore-case"),
        ([{"equals-ignore-case": 5}], "data.a: equals-ignore-case takes a string"),
        ([{"equals-ignore-case": ["x"]}], "data.a: equals-ignore-case takes a string"),
        ([{"equals-ignore-case": {"equals-ignore-case": "x"}}], "data.a: equals-ignore-case takes a string"),
        *[
            ([{"numeric": numeric}], _NUMERIC)
            for numeric in [
                10,
                [],
                ["="],
                [">", 0, "<"],
                ["=", "1"],
                ["=", True],
                ["==", 1],
                [1, "="],
                ["<>", 1],
                [">", 0, ">", 0],
                ["<", 1, ">", 0],
                [">", 1, "<", 1],
                [">=", 1, "<=", 1],
                [">", 30, "<", 1],
                ["=", 1, "<", 2],
                [">", 1, "<", 30, 0],
                [">", True, "<", 30],
                [">", 0, "<", None],
            ]
        ],
        *[([{"anything-but": but}], _BUT) for but in [None, True, [], [None], ["x", 1], ["x", None], [["x"]], [True]]],
        *[
            ([{"anything-but": but}], _BUT_TEXT)
            for but in [
                {"prefix": ""},
                {"suffix": ""},
                {"prefix": ["x", ""]},
                {"prefix": 27},
                {"suffix": [1]},
                {"prefix": []},
                {"prefix": {"equals-ignore-case": "x"}},
                {"equals-ignore-case": 123},
                {"equals-ignore-case": ["x", 1]},
                {"exists": False},
                {"numeric": ["=", 1]},
                {"wildcard": "a*"},
                {"anything-but": "x"},
            ]
        ],
        ([{"anything-but": {}}], "data.a: an operator is an object with one of equals-ignore-case, prefix or suffix"),
        (
            [{"anything-but": {"prefix": "x", "suffix": "y"}}],
            "data.a: an operator is an object with one of equals-ignore-case, prefix or suffix",
        ),
        ({"$or": {"b": [1]}}, "data.a: $or takes an array of two or more objects"),
        ({"$or": [{"b": [1]}]}, "data.a: $or takes an array of two or more objects"),
        ({"$or": [{"b": [1]}, [{"c": [1]}]]}, "data.a: $or takes an array of two or more objects"),
        ({"$or": [{"b": [1]}, {}]}, "data.a is a JSON object with at least one field"),
        ({"$or": [{"b": [1]}, {"prefix": ["x"]}]}, "data.a: prefix cannot be a field within $or"),
        ({"$or": [{"b": [1]}, {"c": {"numeric": [123]}}]}, "data.a.c: numeric cannot be a field within $or"),
        ({"$or": [{"b": [1]}, {"regex": ["x"]}]}, "data.a: regex cannot be a field within $or"),
    ],
)
def test_a_bad_pattern_is_refused_with_what_is_allowed_and_where(field, allowed):
    # EventBridge and Ruler's tests of what does not compile; cidr and wildcard are not among Lambda's operators
    assert _refused(json.dumps({"data": {"a": field}})).allowed == allowed


def test_an_operators_name_is_a_fields_name_outside_or():
    assert _matches({"prefix": ["x"], "numeric": {"=": [1]}}, {"prefix": "x", "numeric": {"=": 1}})


def test_a_pattern_has_at_most_4096_characters():
    # Lambda API reference, "Filter"
    around = len('{"data":{"a":[""]}}')
    most = '{"data":{"a":["' + "x" * (4096 - around) + '"]}}'
    assert compile_pattern(most)(most[8:-1].encode())
    assert str(_refused(most + " ")) == "filters = 'a pattern of 4,097 characters' is not allowed: at most 4,096"


def test_or_makes_at_most_1000_combinations():
    # EventBridge: "InvalidEventPatternException if the use of $or results in over 1000 rule combinations"
    ten = [{"$or": [{f"{name}{n}": [1]} for n in range(10)]} for name in "abc"]
    assert _matches({"x": ten[0], "y": ten[1], "z": ten[2]}, {"x": {"a9": 1}, "y": {"b0": 1}, "z": {"c5": 1}})
    more = {"$or": [*ten[2]["$or"], {"c10": [1]}]}
    refused = _refused(json.dumps({"data": {"x": ten[0], "y": ten[1], "z": more}}))
    assert refused.allowed == "$or makes at most 1,000 combinations"


@pytest.mark.parametrize(
    "deep", ['{"data":' + '{"a":' * 100 + "[1]" + "}" * 101, json.dumps({"data." + ".".join("a" * 100): [1]})]
)
def test_a_pattern_is_nested_at_most_100_levels_deep(deep):
    assert _refused(deep).allowed == "fields are nested at most 100 levels deep"


def test_a_mapping_refuses_a_bad_pattern():
    with pytest.raises(SettingError, match=r"^filters = '\{\"data\": \{\"a\": 1\}\}' is not allowed: data\.a: a field takes an "):
        EventSourceMapping(filters=('{"data": {"a": 1}}',))


# --- against a model --------------------------------------------------------------------------------------------------------
# The model is Ruler's as its README tells it: the event is flattened to dotted names and values, each with the elements of arrays
# it stands in; the pattern's fields are taken by name, with backtracking, none in another element of an array than those before.

_LEAVES, _OBJECTS = ("x", "z"), ("m", "y")  # of a pattern: no name is both, as a field in an array would be

_plain = st.sampled_from([None, True, False, 0, 1, 1.0, 2.5, "", "a", "A", "ab", "b"])
_conditions = st.one_of(
    _plain,
    st.booleans().map(lambda truth: {"exists": truth}),
    st.sampled_from(
        [
            {"prefix": "a"},
            {"suffix": "b"},
            {"equals-ignore-case": "a"},
            {"anything-but": ["a", "b"]},
            {"anything-but": 1},
            {"anything-but": {"prefix": "a"}},
            {"numeric": [">", 0, "<=", 1]},
            {"numeric": ["<", 1]},
        ]
    ),
)
_fields = st.lists(_conditions, min_size=1, max_size=3)


def _objects_of(inner):
    leaves = st.dictionaries(st.sampled_from(_LEAVES), _fields, max_size=1)
    objects = st.dictionaries(st.sampled_from(_OBJECTS), inner, max_size=2)
    part = st.builds(lambda one, two: {**one, **two}, leaves, objects).filter(bool)
    either = st.lists(part, min_size=2, max_size=3).map(lambda parts: {"$or": parts})
    return st.one_of(part, part, part, either, st.builds(lambda one, two: {**one, **two}, part, either))


_least = st.dictionaries(st.sampled_from(_LEAVES), _fields, min_size=1, max_size=2)
_patterns = st.one_of(_objects_of(_least), _objects_of(_objects_of(_least)))
_names = st.sampled_from([*_LEAVES, *_OBJECTS])
_anything = st.recursive(
    _plain, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_names, inner, max_size=4)), max_leaves=12
)


def _records_of(inner):
    """Objects of a shape that patterns ask for, in arrays or not: at random, few would match."""
    leaves = st.fixed_dictionaries({}, optional=dict.fromkeys(_LEAVES, st.one_of(_plain, st.lists(_plain, max_size=2))))
    within = st.one_of(inner, st.lists(inner, min_size=1, max_size=3))
    return st.builds(
        lambda one, two: {**one, **two}, leaves, st.dictionaries(st.sampled_from(_OBJECTS), within, min_size=1, max_size=2)
    )


_records = _records_of(_records_of(_records_of(_anything)))
_events = st.one_of(_records, _records, st.lists(_records, max_size=3), _anything)


def _rules_of(pattern, path=()):
    """Every way to satisfy ``pattern``: {dotted name: conditions}."""
    parts = []
    for name, value in pattern.items():
        if name == "$or":
            parts.append([rule for each in value for rule in _rules_of(each, path)])
        elif isinstance(value, dict):
            parts.append(_rules_of(value, (*path, name)))
        else:
            parts.append([{".".join((*path, name)): value}])
    return [{name: value for each in choice for name, value in each.items()} for choice in itertools.product(*parts)]


def _flattened(value, ids, name=(), place=()):
    """(dotted name, value, {array: element}) of every plain value; ``ids`` tells arrays apart."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flattened(inner, ids, (*name, key), place)
    elif isinstance(value, list):
        array = next(ids)
        for at, inner in enumerate(value):
            within = (*place, (array, at)) if isinstance(inner, dict | list) else place
            yield from _flattened(inner, ids, name, within)
    else:
        yield ".".join(name), value, dict(place)


def _agree(one, other):
    return all(other.get(array, at) == at for array, at in one.items())


def _holds(condition, value):
    kind = "number" if type(value) in (int, float) else type(value)
    if not isinstance(condition, dict):
        return kind == ("number" if type(condition) in (int, float) else type(condition)) and value == condition
    [(name, argument)] = condition.items()
    if name == "exists":
        return argument
    if name == "anything-but":
        banned = argument if isinstance(argument, dict) else None
        many = argument if isinstance(argument, list) else [argument]
        return not (_holds(banned, value) if banned else any(_holds(each, value) for each in many))
    if name == "numeric":
        return kind == "number" and (0 < value <= 1 if len(argument) == 4 else value < 1)
    if kind is not str:
        return False
    return {"prefix": value[:1] == "a", "suffix": value[-1:] == "b", "equals-ignore-case": value in ("a", "A")}[name]


def _possible(fields, found, place):
    if not fields:
        return True
    (name, conditions), *rest = fields
    here = [(value, at) for other, value, at in found if other == name and _agree(at, place)]
    if {"exists": False} in conditions and not here:
        return _possible(rest, found, place)
    held = [at for value, at in here if any(_holds(condition, value) for condition in conditions)]
    return any(_possible(rest, found, {**place, **at}) for at in held)


@settings(_patiently, max_examples=300)
@given(pattern=_patterns, event=_events)
def test_random_patterns_agree_with_the_model(pattern, event):
    found = list(_flattened(event, itertools.count()))
    expected = any(_possible(sorted(rule.items()), found, {}) for rule in _rules_of(pattern))
    assert _matches(pattern, event) is expected


@_patiently
@given(event=_events, name=_names)
def test_a_field_exists_or_does_not(event, name):
    assert _matches({name: [{"exists": True}]}, event) is not _matches({name: [{"exists": False}]}, event)


@_patiently
@given(event=st.dictionaries(_names, _events, max_size=3), pattern=_least)
def test_a_dotted_name_in_the_data_is_the_path_it_spells(event, pattern):
    assert _matches({"m": pattern}, {f"m.{key}": value for key, value in event.items()}) is _matches({"m": pattern}, {"m": event})


_ANY = [
    '{"data": {"a": [{"exists": false}], "b": {"c": [1, {"prefix": "x"}]}}}',
    '{"data": {"$or": [{"a": [{"anything-but": {"suffix": "x"}}]}, {"a.b": [{"numeric": [">", 0, "<", 9]}]}]}}',
]


@_patiently
@given(data=st.binary(max_size=200), text=st.sampled_from(_ANY))
def test_no_data_raise(data, text):
    assert compile_pattern(text)(data) in (True, False)


_json = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c", "a.b", ".", "b.c", ""]), inner),
    max_leaves=10,
)


@_patiently
@given(value=_json, text=st.sampled_from(_ANY))
def test_no_json_raises(value, text):
    assert compile_pattern(text)(json.dumps(value).encode()) in (True, False)


_WORDS = ["$or", "prefix", "suffix", "exists", "numeric", "anything-but", "equals-ignore-case", "a", "", ".", "=", ">", "<"]
_loose = st.recursive(
    st.sampled_from([*_WORDS, 1, 0.5, None, True, False]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_WORDS), inner, max_size=3),
    max_leaves=10,
)


@_patiently
@given(pattern=_loose, value=_json)
def test_a_pattern_is_compiled_or_refused_and_never_fails_later(pattern, value):
    try:
        matches = compile_pattern(json.dumps({"data": pattern}))
    except SettingError:
        return
    assert matches(json.dumps(value).encode()) in (True, False)


@_patiently
@given(st.text(max_size=60))
def test_any_text_is_a_pattern_or_refused(text):
    _refused(text)
