#!/bin/sh
# What tests of mail, pictures and Spark need beside Python: Chromium, Dovecot, node with npm, Java, and MailDev by npm.
# Without them these tests are skipped, and say so.
set -u
missing=
command -v chromium >/dev/null || command -v google-chrome >/dev/null || missing="$missing chromium"
[ -x /usr/lib/dovecot/imap ] || missing="$missing dovecot-imapd"
command -v node >/dev/null || missing="$missing nodejs"
command -v npm >/dev/null || missing="$missing npm"
command -v "${JAVA_HOME:+$JAVA_HOME/bin/}java" >/dev/null || missing="$missing default-jre-headless"
if [ -n "$missing" ]; then
    if command -v apt-get >/dev/null; then
        echo "Installing system packages for the tests:$missing"
        if [ "$(id -u)" = 0 ]; then as_root=; else as_root=sudo; fi
        # shellcheck disable=SC2086
        { $as_root apt-get update -qq && $as_root apt-get install -y -qq --no-install-recommends $missing; } >/dev/null ||
            echo "They could not be installed; the tests that need them are skipped."
    else
        echo "For all tests install:$missing. The tests that need them are skipped now."
    fi
fi
if command -v npm >/dev/null && [ ! -d tests/browser/node_modules/maildev ]; then
    echo "Installing MailDev (a mail receiver with a web page) into tests/browser/node_modules …"
    npm ci --prefix tests/browser --silent || echo "MailDev could not be installed; the tests that need it are skipped."
fi
exit 0
