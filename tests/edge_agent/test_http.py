"""One exchange with a server, on real sockets with real TLS and real faults."""

import socket
import ssl
import threading
import time
from contextlib import closing, suppress

import pytest

from edge_agent import __version__
from edge_agent.http import MAX_BODY_BYTES, Answer, Connection, NoAnswer
from tests.simulators.ingest_server import IngestServer, Reply
from tests.simulators.proxy import Fault, FaultProxy
from tests.support.servers import CertificateAuthority, free_port

BODY = b'{"samples": []}'


def post(url, ca_file, body=BODY, within_s=20.0):
    headers = {"Authorization": "Bearer t"}
    with closing(Connection.to_server(url, ca_file)) as server:
        return server.request("POST", "/v1/ingest", headers, body, within_s=within_s)


def test_the_answer_comes_back_whatever_its_status(server, ca):
    server.say(Reply(200, {"inserted": 0}), Reply(503, b"later", {"Retry-After": "7"}))
    first = post(server.url, ca.file)
    assert (first.status, first.body) == (200, b'{"inserted": 0}')
    assert abs(time.time() - first.date.timestamp()) < 60
    second = post(server.url, ca.file)
    assert (second.status, second.body, second.headers["retry-after"]) == (503, b"later", "7")
    assert server.requests[0].headers["user-agent"] == f"sunspool/{__version__}"
    assert server.requests[0].path == "/v1/ingest"


def test_one_connection_is_kept_and_replaced_when_it_breaks(server, ca):
    with FaultProxy(server.port) as proxy:
        client = Connection.to_server(f"https://127.0.0.1:{proxy.port}", ca.file)
        for _ in range(3):
            client.request("POST", "/", {}, BODY, within_s=5)
        assert proxy.connections == 1
        proxy.cut()
        time.sleep(0.1)
        client.request("POST", "/", {}, BODY, within_s=5)
        assert proxy.connections == 2
        client.close()


def test_an_interim_answer_is_not_the_answer_and_no_later_request_gets_the_one_after_it():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection:
                for number in range(2):
                    connection.recv(4096)
                    connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")
                    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"
                    connection.sendall(head + str(number).encode())

        thread = threading.Thread(target=serve)
        thread.start()
        with closing(Connection("127.0.0.1", listener.getsockname()[1], None)) as client:
            answers = [client.request("POST", "/", {}, BODY, within_s=5) for _ in range(2)]
        thread.join()
    assert [(answer.status, answer.body) for answer in answers] == [(200, b"0"), (200, b"1")]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(server, tls, ca, status):
    with IngestServer(tls) as other:
        server.say(Reply(status, b"", {"Location": other.url + "/v1/ingest"}))
        assert post(server.url, ca.file).status == status
        assert len(server.requests) == 1
        assert other.requests == []


def test_neither_proxy_nor_ca_nor_login_come_from_the_environment(
    server, ca, monkeypatch, tmp_path
):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert post(server.url, ca.file).status == 200
    assert server.requests[0].headers["authorization"] == "Bearer t"


def test_a_server_of_another_ca_or_another_name_gets_nothing(server, ca, tmp_path):
    with pytest.raises(NoAnswer, match="certificate verify failed"):
        post(server.url, None)
    with pytest.raises(NoAnswer, match="certificate verify failed"):
        post(server.url, CertificateAuthority(tmp_path, "Another").file)
    with IngestServer(ca.issue("elsewhere", ["elsewhere.example"])) as wrong:
        with pytest.raises(NoAnswer, match="certificate is not valid for"):
            post(wrong.url, ca.file)
        assert wrong.requests == []
    assert server.requests == []


def test_tls_before_1_2_is_refused(tls, ca):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*tls)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with suppress(OSError), connection, context.wrap_socket(connection, server_side=True):
                pass

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(NoAnswer, match=r"(?i)version|protocol"):
            post(f"https://127.0.0.1:{listener.getsockname()[1]}", ca.file)
        thread.join()


def test_a_host_is_tried_at_each_of_its_addresses(server, ca):
    """Of `localhost`, IPv6 and IPv4, only one has the server."""
    if len({info[0] for info in socket.getaddrinfo("localhost", 80)}) < 2:
        pytest.skip("localhost has only one address: this test needs ::1 localhost in /etc/hosts")
    assert post(f"https://localhost:{server.port}", ca.file).status == 200


def test_the_path_of_the_base_url_comes_before_that_of_the_request(server, ca):
    assert post(server.url + "/base", ca.file).status == 200
    assert server.requests[0].path == "/base/v1/ingest"
    assert server.requests[0].headers["host"] == f"127.0.0.1:{server.port}"


def test_a_server_that_does_not_read_does_not_hold_the_thread(tls, ca):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*tls)
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection, context.wrap_socket(connection, server_side=True) as secured:
                while not done.wait(0.2):  # it reads, but so slowly that it would take hours
                    secured.recv(100)

        thread = threading.Thread(target=serve)
        thread.start()
        started = time.monotonic()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(NoAnswer, match=r"gave no answer in 1\.5 s"):
            post(url, ca.file, body=b"x" * 50_000_000, within_s=1.5)
        assert time.monotonic() - started < 4
        done.set()
        thread.join()


def test_a_request_that_a_kept_connection_swallowed_is_sent_once_more(server, ca):
    server.say(Reply(200, {"inserted": 0}), Reply(reset=True), Reply(200, {"inserted": 1}))
    with closing(Connection.to_server(server.url, ca.file)) as client:
        answers = [client.request("POST", "/", {}, BODY, within_s=5) for _ in range(2)]
        assert [answer.json() for answer in answers] == [{"inserted": 0}, {"inserted": 1}]
        server.say(Reply(200, {}, {"Connection": "close"}), Reply(reset=True))
        client.request("POST", "/", {}, BODY, within_s=5)
        with pytest.raises(NoAnswer):  # it was a new connection: a failure
            client.request("POST", "/", {}, BODY, within_s=5)


@pytest.mark.parametrize("body", [b"", b"{", b'{"a": NaN}', b"\xff", b"[" * 60_000, None])
def test_what_is_no_json_is_none(body):
    assert Answer(200, {}, body).json() is None


def test_nobody_there_is_no_answer(ca):
    with pytest.raises(NoAnswer, match="refused"):
        post(f"https://127.0.0.1:{free_port()}", ca.file)
    with pytest.raises(NoAnswer, match=r"nowhere\.invalid"):
        post("https://nowhere.invalid", ca.file)


@pytest.mark.parametrize(
    ("reply", "what"),
    [
        (Reply(reset=True), "reset|closed"),
        (Reply(silent=True), "gave no answer"),
        (Reply(drip_s=0.05), "gave no answer"),
    ],
    ids=["reset", "silence", "drip"],
)
def test_a_server_without_manners_does_not_hold_the_thread(server, ca, reply, what):
    server.say(reply)
    started = time.monotonic()
    with pytest.raises(NoAnswer, match=what):
        post(server.url, ca.file, within_s=1.5)
    assert time.monotonic() - started < 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("up", "down"),
    [
        (Fault(black_hole=True), Fault()),
        (Fault(), Fault(black_hole=True)),
        (Fault(), Fault(drip_s=0.05)),  # the handshake drips
        (Fault(drip_s=0.05), Fault()),
        (Fault(reset=True), Fault()),
        (Fault(), Fault(cut_after=100)),
        (Fault(), Fault(cut_after=2000)),
        (Fault(), Fault(corrupt_at=50)),
        (Fault(), Fault(corrupt_at=1200)),
        (Fault(corrupt_at=700), Fault()),
    ],
    ids=lambda fault: " ".join(f"{n}={v}" for n, v in vars(fault).items() if v) or "none",
)
def test_a_fault_on_the_line_is_no_answer_and_is_over_in_time(server, ca, up, down):
    with FaultProxy(server.port) as proxy:
        proxy.up, proxy.down = up, down
        url = f"https://127.0.0.1:{proxy.port}"
        started = time.monotonic()
        with pytest.raises(NoAnswer):
            post(url, ca.file, body=BODY * 100, within_s=1.5)
        assert time.monotonic() - started < 5
        proxy.heal()
        assert post(url, ca.file).status == 200


def test_a_slow_line_is_no_fault(server, ca):
    with FaultProxy(server.port) as proxy:
        proxy.down = Fault(delay_s=0.2)
        assert post(f"https://127.0.0.1:{proxy.port}", ca.file).status == 200


def test_an_answer_is_read_up_to_64_kib_as_it_comes(server, ca):
    longest, longer = b"x" * MAX_BODY_BYTES, b"x" * (MAX_BODY_BYTES + 1)
    zipped = {"Content-Encoding": "gzip"}
    server.say(Reply(200, longest), Reply(200, longer), Reply(200, b"not gzip", zipped))
    assert post(server.url, ca.file).body == longest
    assert post(server.url, ca.file).body is None
    assert post(server.url, ca.file).body == b"not gzip"


def test_a_chunked_answer_is_read_as_any_other(server, ca):
    headers = {"Transfer-Encoding": "chunked", "Content-Length": ""}
    server.say(Reply(200, b'5\r\n{"ins\r\n4\r\n": 1\r\n1\r\n}\r\n0\r\n\r\n', headers))
    assert post(server.url, ca.file).body == b'{"ins": 1}'


def test_an_answer_that_ends_too_early_is_none(server, ca):
    server.say(Reply(200, b'{"inserted": 0}', {"Content-Length": "20", "Connection": "close"}))
    with pytest.raises(NoAnswer):
        post(server.url, ca.file, within_s=1)
