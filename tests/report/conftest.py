def pytest_addoption(parser):
    parser.addoption("--refresh-golden", action="store_true", help="write the golden reports anew; read their diff")
