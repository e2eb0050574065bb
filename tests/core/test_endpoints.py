"""Endpoints, and the grammar of their URLs."""

import copy
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cogment_core.api import directory_pb2
from cogment_core.endpoints import (
    ClientUrl,
    DiscoverUrl,
    Endpoint,
    GrpcUrl,
    ServedEndpoint,
    ServiceType,
    format_url,
    parse_url,
    redact_url,
)
from cogment_core.errors import CogmentError, EndpointError, UsageError
from cogment_core.logs import logger

TYPE_WORDS = {
    "actor": ServiceType.ACTOR,
    "environment": ServiceType.ENVIRONMENT,
    "prehook": ServiceType.HOOK,
    "datalog": ServiceType.DATALOG,
    "lifecycle": ServiceType.LIFE_CYCLE,
    "actservice": ServiceType.CLIENT_ACTOR,
    "datastore": ServiceType.DATASTORE,
    "modelregistry": ServiceType.MODEL_REG,
    "directory": ServiceType.DIRECTORY,
    "other": ServiceType.OTHER,
}


def test_service_types_have_the_numbers_of_the_protocol():
    """`ServiceType` has every type of the protocol but UNKNOWN, with the same number."""
    wire = {value.number for value in directory_pb2.ServiceType.DESCRIPTOR.values if value.number}
    assert {service_type.value for service_type in ServiceType} == wire
    assert ServiceType.CLIENT_ACTOR.value == directory_pb2.CLIENT_ACTOR_CONNECTION_SERVICE
    assert ServiceType.HOOK.value == directory_pb2.PRE_HOOK_SERVICE
    assert ServiceType.MODEL_REG.value == directory_pb2.MODEL_REGISTRY_SERVICE


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("grpc://localhost:9000", "localhost:9000"),
        ("grpc://localhost:9000/", "localhost:9000"),
        ("  grpc://localhost:9000\n", "localhost:9000"),
        ("GRPC://LocalHost:9000", "LocalHost:9000"),
        ("grpc://cogment.example.com", "cogment.example.com"),
        ("grpc://10.0.0.1:65535", "10.0.0.1:65535"),
        ("grpc://[::1]:9000", "[::1]:9000"),
        ("grpc://[fe80::1%eth0]:9000", "[fe80::1%eth0]:9000"),
        ("grpc://unix:/run/cogment.sock", "unix:/run/cogment.sock"),
        ("grpc://dns:///localhost:9000", "dns:///localhost:9000"),
    ],
)
def test_a_grpc_url_is_an_address(url, address):
    """`grpc://` is followed by what a channel takes."""
    assert parse_url(url) == GrpcUrl(address)


@pytest.mark.parametrize("url", ["cogment://client", "cogment://client/", "COGMENT://Client", " client ", "client"])
def test_a_client_url_is_recognized_in_all_its_forms(url):
    """A client actor's URL may have a slash at its end, be in upper case, or be the bare word."""
    assert parse_url(url) == ClientUrl()


@pytest.mark.parametrize(
    "url", ["cogment://discover", "cogment://discover/", "Cogment://DISCOVER", "cogment://discover?"]
)
def test_a_discovery_url_without_path_takes_its_type_from_the_context(url):
    """Without a path, the place of use says what to look for."""
    parsed = parse_url(url)
    assert parsed == DiscoverUrl()
    assert parsed.from_context


@pytest.mark.parametrize("word", TYPE_WORDS)
@pytest.mark.parametrize("end", ["", "/"])
def test_a_path_names_the_type_of_service(word, end):
    """Every type of service has its word, in any case."""
    for path in (word, word.upper()):
        parsed = parse_url(f"cogment://discover/{path}{end}?a=b")
        assert parsed == DiscoverUrl(service_type=TYPE_WORDS[word], properties={"a": "b"})
        assert not parsed.from_context


@pytest.mark.parametrize(
    ("query", "properties"),
    [
        ("a=1&b=2", {"a": "1", "b": "2"}),
        ("open", {"open": ""}),
        ("open=", {"open": ""}),
        ("&a=1&&", {"a": "1"}),
        ("Name=Value", {"Name": "Value"}),
        ("a=b=c", {"a": "b=c"}),
        ("a=x%26y%20z%3D%2B", {"a": "x&y z=+"}),
        ("a=x+y", {"a": "x y"}),
        ("a=50%", {"a": "50%"}),
        ("a=ALE/Pong-v5", {"a": "ALE/Pong-v5"}),
        ("__id=5", {"__id": "5"}),
    ],
)
def test_a_query_is_properties(query, properties):
    """Properties are percent-decoded, keep their case, and need no value."""
    assert parse_url(f"cogment://discover?{query}") == DiscoverUrl(properties=properties)


def test_the_token_of_a_url_is_not_a_property():
    """`__authentication-token` is for the call to the Directory; an empty one is none."""
    assert parse_url("cogment://discover/actor?__authentication-token=s3cret&a=b") == DiscoverUrl(
        service_type=ServiceType.ACTOR, properties={"a": "b"}, token="s3cret"
    )
    assert parse_url("cogment://discover/service?__id=7&__authentication-token=s3cret") == DiscoverUrl(
        service_id=7, token="s3cret"
    )
    assert parse_url("cogment://discover?__authentication-token=").token is None


@pytest.mark.parametrize("number", [1, 5, 2**63, 2**64 - 1])
def test_a_service_is_found_by_its_number(number):
    """`service` takes the number that the Directory gave, of 64 bits."""
    parsed = parse_url(f"cogment://discover/service?__id={number}")
    assert parsed == DiscoverUrl(service_id=number)
    assert not parsed.from_context


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "it is empty"),
        ("   ", "it is empty"),
        ("localhost:9000", "start with grpc:// or cogment://"),
        ("http://localhost:9000", "start with grpc:// or cogment://"),
        ("grpc:localhost:9000", "start with grpc:// or cogment://"),
        ("grpc://", "expected grpc://HOST:PORT"),
        ("grpc://:9000", "expected grpc://HOST:PORT"),
        ("grpc://localhost:", "expected grpc://HOST:PORT"),
        ("grpc://localhost:port", "expected grpc://HOST:PORT"),
        ("grpc://user@localhost:9000", "expected grpc://HOST:PORT"),
        ("grpc://localhost:9000/path", "expected grpc://HOST:PORT"),
        ("grpc://localhost:9000?a=b", "expected grpc://HOST:PORT"),
        ("grpc://::1:9000", "expected grpc://HOST:PORT"),
        ("grpc://localhost:0", "from 1 to 65535"),
        ("grpc://localhost:65536", "from 1 to 65535"),
        ("grpc://localhost:" + "9" * 5000, "from 1 to 65535"),
        ("grpc://local host:9000", "white space"),
        ("grpc://localhost:90\x0000", "white space or control"),
        ("cogment://", "unknown host ''"),
        ("cogment://discovr", "unknown host 'discovr'"),
        ("cogment://discover:9005", "unknown host"),
        ("cogment://client/actor", "nothing may follow"),
        ("cogment://client?a=b", "nothing may follow"),
        ("cogment://discover/actors", "did you mean 'actor'"),
        ("cogment://discover/actor/player", "unknown service type 'actor/player'"),
        ("cogment://discover?a=1&a=2", "'a' is given twice"),
        ("cogment://discover?a=1&%61=1", "'a' is given twice"),
        ("cogment://discover?=1", "has no name"),
        ("cogment://discover?a=%ff", "not percent-encoded UTF-8"),
        ("cogment://discover?a=b#c", "%23"),
        ("cogment://discover?a=b c", "%20"),
        ("cogment://discover/service", "__id=NUMBER"),
        ("cogment://discover/service?id=5", "__id=NUMBER"),
        ("cogment://discover/service?__id=five", "from 1 to 18446744073709551615"),
        ("cogment://discover/service?__id=0", "from 1 to"),
        ("cogment://discover/service?__id=-1", "from 1 to"),
        ("cogment://discover/service?__id=18446744073709551616", "from 1 to"),
        ("cogment://discover/service?__id=" + "1" * 5000, "from 1 to"),
        ("cogment://discover/service?__id=5&a=b", "have no meaning: a"),
        (None, "a URL is text, not NoneType"),
    ],
)
def test_what_is_not_an_endpoint_url_is_refused_with_a_way_out(url, says):
    """A URL outside of the grammar is an `EndpointError` that says what is wrong."""
    with pytest.raises(EndpointError) as caught:
        parse_url(url)
    assert says in str(caught.value)


@given(st.text() | st.text("cogment:/dsrvp?&=#%+_id cl[]@0159\n").map("cogment://discover".__add__))
def test_any_text_is_understood_or_refused(text):
    """No text makes the parser fail otherwise than with an `EndpointError`; what it accepts, it can write."""
    try:
        parsed = parse_url(text)
    except EndpointError:
        return
    assert parse_url(format_url(parsed)) == parsed


properties = st.dictionaries(st.text(min_size=1).filter(lambda name: name != "__authentication-token"), st.text())
tokens = st.none() | st.text(min_size=1)
urls = st.one_of(
    st.just(ClientUrl()),
    st.from_regex(r"\A[a-z][a-z0-9.-]{0,20}:[1-9][0-9]{0,3}\Z").map(GrpcUrl),
    st.builds(DiscoverUrl, service_id=st.integers(1, 2**64 - 1), token=tokens),
    st.builds(DiscoverUrl, st.none() | st.sampled_from(ServiceType), st.none(), properties, tokens),
)


@given(urls)
def test_what_is_formatted_is_read_back(url):
    """Formatting and parsing are inverse, whatever is in names, values and tokens."""
    assert parse_url(format_url(url)) == url


def test_secrets_are_not_shown():
    """Tokens and user names in URLs, and PEM texts, appear in no representation and no error."""
    url = "cogment://discover/actor?__authentication-token=s3cret&a=b"
    endpoint = Endpoint(url)
    endpoint.private_key = endpoint.root_certificates = endpoint.certificate_chain = "s3cret"
    served = ServedEndpoint(9000)
    served.private_key_certificate_chain_pairs = [("s3cret", "s3cret")]
    assert "a=b" in redact_url(url)
    for shown in (redact_url(url), repr(endpoint), str(endpoint), repr(served), repr(parse_url(url))):
        assert "s3cret" not in shown
    for wrong in (url + "&a=c", "grpc://me:s3cret@localhost:9000"):
        with pytest.raises(EndpointError) as caught:
            parse_url(wrong)
        assert "s3cret" not in str(caught.value)


def test_discovery_urls_can_be_keys():
    """Parsed URLs are hashable, equal ones alike."""
    assert hash(parse_url("cogment://discover/actor?a=b")) == hash(parse_url("cogment://discover/actor?a=b"))


def test_an_endpoint_discovers_in_plain_text_by_default():
    """Without arguments the Directory is asked, and there is no TLS."""
    endpoint = Endpoint()
    assert endpoint.url == "cogment://discover"
    assert (endpoint.private_key, endpoint.root_certificates, endpoint.certificate_chain) == (None, None, None)
    assert not endpoint.using_ssl()


def test_tls_is_on_with_use_ssl_or_a_private_key():
    """Either of the two ways to ask for TLS is enough."""
    assert Endpoint("grpc://localhost:9000", use_ssl=True).using_ssl()
    endpoint = Endpoint("grpc://localhost:9000")
    endpoint.private_key = "key"
    assert endpoint.using_ssl()
    endpoint.private_key = None
    endpoint.root_certificates = "roots"
    assert not endpoint.using_ssl()


def test_tls_material_is_read_from_files(tmp_path):
    """`set_from_files` reads what is given, unsets the rest and turns TLS on."""
    files = {name: tmp_path / f"{name}.pem" for name in ("key", "roots", "chain")}
    for name, path in files.items():
        path.write_text(name)
    endpoint = Endpoint("grpc://localhost:9000")
    endpoint.set_from_files(str(files["key"]), files["roots"], files["chain"])
    assert (endpoint.private_key, endpoint.root_certificates, endpoint.certificate_chain) == ("key", "roots", "chain")
    assert endpoint.using_ssl()
    endpoint = Endpoint("grpc://localhost:9000")
    endpoint.set_from_files(root_certificates_file=files["roots"])
    assert (endpoint.private_key, endpoint.root_certificates) == (None, "roots")
    assert endpoint.using_ssl()


def test_a_missing_file_changes_nothing(tmp_path):
    """A file that cannot be read is an `EndpointError` that names it, and the endpoint is as before."""
    (tmp_path / "key.pem").write_text("key")
    (tmp_path / "binary.pem").write_bytes(b"\xff\xfe")
    endpoint = Endpoint()
    for wrong in ("missing.pem", "binary.pem"):
        with pytest.raises(EndpointError, match=f"root_certificates_file: .*{wrong}"):
            endpoint.set_from_files(tmp_path / "key.pem", tmp_path / wrong)
    assert endpoint.private_key is None
    assert not endpoint.using_ssl()


def test_another_url_keeps_how_to_connect():
    """`with_url` copies everything but the URL, and leaves the original alone."""
    endpoint = Endpoint("cogment://discover", use_ssl=True)
    endpoint.root_certificates = "roots"
    found = endpoint.with_url("grpc://localhost:9000")
    assert (found.url, found.use_ssl, found.root_certificates) == ("grpc://localhost:9000", True, "roots")
    assert endpoint.url == "cogment://discover"
    assert copy.copy(found).url == found.url


def test_a_served_endpoint_listens_on_all_interfaces_by_default():
    """Without arguments the system chooses the port, all interfaces are used, and there is no TLS."""
    served = ServedEndpoint()
    assert (served.port, served.host, served.address) == (0, None, "[::]:0")
    assert served.private_key_certificate_chain_pairs is None
    assert served.root_certificates is None
    assert not served.using_ssl()
    served.private_key_certificate_chain_pairs = [("key", "chain")]
    assert served.using_ssl()


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "127.0.0.1:9000"), ("::1", "[::1]:9000"), ("[::1]", "[::1]:9000"), ("", "[::]:9000")],
)
def test_a_host_narrows_where_to_listen(host, address):
    """With a host, only its interface is listened on; IPv6 addresses get brackets."""
    assert ServedEndpoint(9000, host=host).address == address


def test_a_port_as_text_is_accepted_with_a_warning(monkeypatch, caplog):
    """Text is converted, and deprecated."""
    monkeypatch.setattr(logger, "DEPRECATED_LOGGED", set())
    with caplog.at_level(logging.WARNING, "cogment.sdk"):
        assert ServedEndpoint("9000").port == 9000
    assert "Deprecated" in caplog.text


@pytest.mark.parametrize("port", [-1, 65536, 1.5, True, None, "", "http", "-1", "9" * 5000])
def test_what_is_not_a_port_is_refused(port):
    """A port is a number from 0 to 65535, at construction and later."""
    with pytest.raises(UsageError, match="from 0 to 65535"):
        ServedEndpoint(port)
    served = ServedEndpoint(9000)
    with pytest.raises(CogmentError):
        served.port = port
    assert served.port == 9000
