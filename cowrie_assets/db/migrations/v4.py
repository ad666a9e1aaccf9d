"""Schema 4: files, one a session and hash."""

from .steps import CreateTable, Migration

FILES = CreateTable(
    "files",
    """
    id INTEGER NOT NULL
    session_id VARCHAR(64) NOT NULL
    shasum VARCHAR(64) NOT NULL
    filename VARCHAR(512)
    file_size BIGINT
    download_url VARCHAR(1024)
    vt_classification VARCHAR(128)
    vt_description TEXT
    vt_malicious BOOLEAN DEFAULT '0' NOT NULL
    vt_first_seen DATETIME
    vt_last_analysis DATETIME
    vt_positives INTEGER
    vt_total INTEGER
    vt_scan_date DATETIME
    first_seen DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL
    last_updated DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL
    enrichment_status VARCHAR(32) DEFAULT 'pending' NOT NULL
    """,
    (
        "CONSTRAINT pk_files PRIMARY KEY (id)",
        "CONSTRAINT uq_files_session_hash UNIQUE (session_id, shasum)",
    ),
    """
    ix_files_vt_malicious: vt_malicious
    ix_files_enrichment_status: enrichment_status
    ix_files_first_seen: first_seen
    ix_files_session_id: session_id
    ix_files_shasum: shasum
    """,
)

MIGRATION = Migration(4, "files", (FILES,))
