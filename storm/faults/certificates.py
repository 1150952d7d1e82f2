"""The certificate that callers are shown."""

from __future__ import annotations

import ssl
from typing import Final

from storm.fault import Fault
from storm.node import pause
from storm.stage import Stage


def renew(stage: Stage) -> None:
    stage.certificates.reverse()
    wanted = stage.certificates[0]
    with stage.measuring("a renewed certificate until callers are shown it"):
        stage.node.put_certificate(wanted)
        stage.until(lambda: ssl.get_server_certificate(("127.0.0.1", stage.node.port)) in wanted.certificate, "callers are shown the new certificate")
    pause(0.5)


def break_certificate(stage: Stage) -> None:
    node = stage.node
    seen = len(node.running.err)
    node.put_certificate(None)
    node.running.says("^certificates: tls-certificate|tls-certificate", err=True, after=seen)
    pause(0.5)
    node.put_certificate(stage.certificates[0])
    pause(0.5)


FAULTS: Final = (
    Fault("certificate-renewed", "the certificate is renewed", renew, "the new certificate, on new connections", ""),
    Fault("certificate-broken", "the certificate's file is broken", break_certificate, "nothing: the last good one serves", "a good file"),
)
