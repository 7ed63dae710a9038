# The official Python image rather than apache/airflow: the latter brings about ninety providers at versions of its own,
# which the hashed lock would have to fight; here the image holds the lock and nothing else.
FROM python:3.11.14-slim-bookworm

# One thread per task process: Celery runs the tasks side by side, and threads of a parent do not survive its fork.
ENV AIRFLOW_HOME=/opt/airflow \
    OMP_NUM_THREADS=1 \
    OPENBLAS_NUM_THREADS=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1

# Group 0 as in the official Airflow image. Folders that become named volumes must exist with their owner in the image,
# because a new volume takes owner and mode from there.
RUN useradd --uid 50000 --gid 0 --no-create-home --home-dir /opt/airflow --shell /usr/sbin/nologin airflow \
    && install -d -o airflow -g 0 -m 0770 /opt/airflow /opt/airflow/logs /opt/airflow/results \
    && install -d -o root -g 0 -m 0755 /opt/airflow/config /opt/airflow/experiments /opt/airflow/warehouse

WORKDIR /opt/abtest
COPY requirements-server.lock ./
RUN pip install --require-hashes --only-binary=:all: -r requirements-server.lock

# Installed, not put on PYTHONPATH or editable: scheduler, workers and triggerer import the same read-only copy.
COPY pyproject.toml README.md ./
COPY sql/ sql/
COPY templates/ templates/
COPY abtest_lib/ abtest_lib/
RUN pip install --no-deps --no-build-isolation --no-index .

# Task processes fork from the Celery worker. What it has imported once, no task pays for again.
COPY config/ /opt/airflow/config/
COPY plugins/ /opt/airflow/plugins/
COPY dags/ /opt/airflow/dags/
# Copied files keep the mode they have in the checkout, whatever its umask was.
RUN chmod -R a+rX /opt/airflow/config /opt/airflow/plugins /opt/airflow/dags

WORKDIR /opt/airflow
USER 50000:0
CMD ["airflow", "version"]
