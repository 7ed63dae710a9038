"""Where a night finds its warehouse: an Airflow connection, or the environment."""

import json

import abtest_connections
import pytest

SERVER = {"conn_type": "postgres", "host": "db.example.com", "port": 5433, "schema": "shop", "login": "ana",
          "password": "p@ss/word", "extra": {"sslmode": "require"}}  # fmt: skip

CONNECT = {"conn_type": "spark_connect", "host": "spark.example.com", "port": 443, "login": "ana",
           "password": "p@ss/;word", "extra": {"use_ssl": True}}  # fmt: skip

SNOWFLAKE = {"conn_type": "snowflake", "login": "ana", "password": "p@ss/word", "schema": "SALES",
             "extra": {"account": "org-acc", "database": "SHOP", "warehouse": "NIGHTS", "role": "READER"}}  # fmt: skip


@pytest.mark.parametrize(
    ("connection", "location"),
    [
        (json.dumps(SERVER), "postgres://ana:p%40ss%2Fword@db.example.com:5433/shop?sslmode=require"),
        (json.dumps({"conn_type": "generic", "host": "/data/shop.duckdb"}), "/data/shop.duckdb"),
        ("duckdb:///data/shop.duckdb", "/data/shop.duckdb"),
        ("spark:///data/tables", "spark:///data/tables"),
        ("spark://cluster:7077/data/tables", "spark://cluster:7077/data/tables"),
        (json.dumps({"conn_type": "spark", "host": "spark://cluster", "port": 7077}), "spark://cluster:7077/"),
        (json.dumps(CONNECT), "sc://spark.example.com:443/;user_id=ana;token=p%40ss%2F%3Bword;use_ssl=True"),
        (json.dumps({"conn_type": "spark_connect", "host": "sc://127.0.0.1"}), "sc://127.0.0.1"),
        (json.dumps(SNOWFLAKE), "snowflake://ana:p%40ss%2Fword@org-acc/SHOP/SALES?warehouse=NIGHTS&role=READER"),
    ],
)
def test_connection_names_the_warehouse(connection, location, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_ABTEST_WAREHOUSE", connection)
    monkeypatch.setenv("ABTEST_WAREHOUSE", "elsewhere.duckdb")
    assert abtest_connections.warehouse_url() == location


def test_snowflake_without_an_account_says_what_it_needs(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_ABTEST_WAREHOUSE", json.dumps({"conn_type": "snowflake", "login": "ana"}))
    with pytest.raises(abtest_connections.MissingConnection, match=r"it must have extra\.account and extra\.database"):
        abtest_connections.warehouse_url()


def test_without_a_connection_the_environment_does(monkeypatch):
    monkeypatch.setenv("ABTEST_WAREHOUSE", "elsewhere.duckdb")
    assert abtest_connections.warehouse_url() == "elsewhere.duckdb"
    monkeypatch.delenv("ABTEST_WAREHOUSE")
    with pytest.raises(abtest_connections.MissingConnection, match="--conn-type postgres"):
        abtest_connections.warehouse_url()
