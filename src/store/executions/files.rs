//! Contents by hash: scripts, inputs and outputs share the table of blobs.

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Text};
use sha2::{Digest, Sha256};

use crate::execution::{ExecutionId, FileContent};
use crate::store::schema::{blobs, execution_files};
use crate::store::statement::statement;
use crate::store::{Store, StoreError};

/// What a file is to its execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Script,
    Input,
    Output,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Script => "script",
            Role::Input => "input",
            Role::Output => "output",
        }
    }
}

/// Files as columns, the form in which one statement takes them all.
#[derive(Default)]
pub(crate) struct FileRows {
    pub roles: Vec<&'static str>,
    pub names: Vec<String>,
    pub sizes: Vec<i64>,
    pub hashes: Vec<Vec<u8>>,
    pub contents: Vec<Vec<u8>>,
}

impl FileRows {
    pub fn new<'a>(files: impl Iterator<Item = (Role, &'a str, &'a [u8])>) -> Self {
        let mut rows = Self::default();
        for (role, name, content) in files {
            rows.roles.push(role.as_str());
            rows.names.push(name.to_owned());
            rows.sizes.push(i64::try_from(content.len()).unwrap_or(i64::MAX));
            rows.hashes.push(Sha256::digest(content).to_vec());
            rows.contents.push(content.to_vec());
        }
        rows
    }

    /// For an execution that is there already.
    pub fn insert(self, conn: &mut PgConnection, execution: &ExecutionId) -> Result<(), StoreError> {
        statement(
            "WITH content AS (
                INSERT INTO blobs (sha256, content) SELECT * FROM unnest($2::bytea[], $3::bytea[])
                ON CONFLICT DO NOTHING)
             INSERT INTO execution_files (execution_id, role, name, size, sha256)
             SELECT $1, f.* FROM unnest($4::text[], $5::text[], $6::bigint[], $2::bytea[])
                 AS f (role, name, size, sha256)",
        )
        .bind::<Text, _>(execution.as_str())
        .bind::<Array<Binary>, _>(self.hashes)
        .bind::<Array<Binary>, _>(self.contents)
        .bind::<Array<Text>, _>(self.roles)
        .bind::<Array<Text>, _>(self.names)
        .bind::<Array<BigInt>, _>(self.sizes)
        .execute(conn)?;
        Ok(())
    }
}

impl Store {
    /// Names of an execution's input files, in order.
    pub async fn input_names(&self, execution: &ExecutionId) -> Result<Vec<String>, StoreError> {
        let id = execution.clone();
        self.run(move |conn| {
            Ok(execution_files::table
                .filter(execution_files::execution_id.eq(id.as_str()))
                .filter(execution_files::role.eq(Role::Input.as_str()))
                .order(execution_files::name)
                .select(execution_files::name)
                .load(conn)?)
        })
        .await
    }

    /// One input file with its content, so that no more than one is in memory at a time.
    pub async fn input(&self, execution: &ExecutionId, name: &str) -> Result<FileContent, StoreError> {
        self.file(execution, Role::Input, name).await
    }

    pub async fn output(&self, execution: &ExecutionId, name: &str) -> Result<FileContent, StoreError> {
        self.file(execution, Role::Output, name).await
    }

    async fn file(&self, execution: &ExecutionId, role: Role, name: &str) -> Result<FileContent, StoreError> {
        let (id, name) = (execution.clone(), name.to_owned());
        self.run(move |conn| {
            let content = execution_files::table
                .inner_join(blobs::table)
                .filter(execution_files::execution_id.eq(id.as_str()))
                .filter(execution_files::role.eq(role.as_str()))
                .filter(execution_files::name.eq(&name))
                .select(blobs::content)
                .first(conn)?;
            Ok(FileContent { name, content })
        })
        .await
    }
}
