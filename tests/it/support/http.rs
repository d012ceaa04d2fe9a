//! A plain HTTP client that exposes statuses and headers.

use std::time::Duration;

use serde_json::Value;

pub struct Http {
    base: String,
    agent: ureq::Agent,
    key: Option<String>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    pub location: Option<String>,
    pub retry_after: Option<String>,
    /// The `WWW-Authenticate` header.
    pub authenticate: Option<String>,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }
}

impl Http {
    pub fn new(base: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(120)))
            .build();
        Self { base: base.to_owned(), agent: config.into(), key: None }
    }

    /// The same server with this API key.
    pub fn with_key(&self, key: &str) -> Self {
        Self { base: self.base.clone(), agent: self.agent.clone(), key: Some(key.to_owned()) }
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        self.base.strip_prefix("http://").unwrap()
    }

    /// For a server that may be unreachable or hang.
    pub fn impatient(base: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(10)))
            .build();
        Self { base: base.to_owned(), agent: config.into(), key: None }
    }

    /// None if there is no complete response.
    pub fn try_get(&self, path: &str) -> Option<Answer> {
        whole(self.agent.get(format!("{}{path}", self.base)).call())
    }

    pub fn try_post(
        &self,
        path: &str,
        content_type: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<Answer> {
        let mut request =
            self.agent.post(format!("{}{path}", self.base)).header("content-type", content_type);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        whole(request.send(body))
    }

    pub fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[])
    }

    pub fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.agent.get(format!("{}{path}", self.base));
        for (name, value) in
            self.own_headers().iter().map(|(n, v)| (*n, v.as_str())).chain(headers.iter().copied())
        {
            request = request.header(name, value);
        }
        read(request.call())
    }

    fn own_headers(&self) -> Vec<(&'static str, String)> {
        self.key.iter().map(|key| ("authorization", format!("Bearer {key}"))).collect()
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_raw(path, "application/json", &[], body.to_string().as_bytes())
    }

    pub fn post_raw(&self, path: &str, content_type: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request =
            self.agent.post(format!("{}{path}", self.base)).header("content-type", content_type);
        for (name, value) in
            self.own_headers().iter().map(|(n, v)| (*n, v.as_str())).chain(headers.iter().copied())
        {
            request = request.header(name, value);
        }
        read(request.send(body))
    }

    /// Submits a Python script; returns its id.
    pub fn submit(&self, script: &str) -> String {
        self.submit_with(script, Value::Null)
    }

    /// `more` contains further fields of the submission.
    pub fn submit_with(&self, script: &str, more: Value) -> String {
        let mut body = serde_json::json!({ "script": { "name": "script.py", "content": script } });
        if let Value::Object(fields) = more {
            body.as_object_mut().unwrap().extend(fields);
        }
        let answer = self.post("/api/v1/executions", &body);
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// Retries with the same idempotency key until there is a response, as a client does. Returns the ID.
    pub fn submit_surely(&self, key: &str, script: &str, more: Value) -> String {
        let mut body = serde_json::json!({ "script": { "name": "script.py", "content": script } });
        if let Value::Object(fields) = more {
            body.as_object_mut().unwrap().extend(fields);
        }
        crate::support::wait_until("the submission to be accepted", Duration::from_secs(60), || {
            let answer = self.post_raw(
                "/api/v1/executions",
                "application/json",
                &[("idempotency-key", key)],
                body.to_string().as_bytes(),
            );
            match answer.status {
                200 | 201 => Some(answer.json()["id"].as_str().unwrap().to_owned()),
                503 => {
                    assert!(answer.retry_after.is_some(), "{answer:?}");
                    None
                }
                _ => panic!("{answer:?}"),
            }
        })
    }

    /// The execution when it has ended; tolerates 503 responses in between.
    pub fn wait_through_503(&self, id: &str) -> Value {
        crate::support::wait_until("the end of the execution", Duration::from_secs(120), || {
            let answer = self.get(&format!("/api/v1/executions/{id}?wait=5"));
            assert!(matches!(answer.status, 200 | 503), "{answer:?}");
            let execution = (answer.status == 200).then(|| answer.json())?;
            execution["completed_at"].is_string().then_some(execution)
        })
    }

    /// Waits until the script has printed `word`.
    pub fn wait_for_output(&self, id: &str, word: &str) -> String {
        crate::support::wait_until("the output", Duration::from_secs(60), || {
            let text = self.get(&format!("/api/v1/executions/{id}/logs")).body;
            text.contains(word).then_some(text)
        })
    }

    pub fn wait_for_status(&self, id: &str, status: &str) {
        crate::support::wait_until(status, Duration::from_secs(60), || {
            (self.execution(id)["status"] == status).then_some(())
        });
    }

    pub fn execution(&self, id: &str) -> Value {
        self.get(&format!("/api/v1/executions/{id}")).json()
    }

    /// The execution when it has ended.
    pub fn wait(&self, id: &str) -> Value {
        for _ in 0..6 {
            let answer = self.get(&format!("/api/v1/executions/{id}?wait=20"));
            assert_eq!(answer.status, 200, "{answer:?}");
            let execution = answer.json();
            if !matches!(execution["status"].as_str(), Some("queued" | "running")) {
                return execution;
            }
        }
        panic!("{id} has not ended: {}", self.execution(id));
    }
}

fn read(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
    let answer = answer.unwrap_or_else(|error| panic!("no response: {error}"));
    whole(Ok(answer)).expect("the response is incomplete")
}

fn whole(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Option<Answer> {
    let mut answer = answer.ok()?;
    let body = answer.body_mut().with_config().limit(64 << 20).read_to_vec().ok()?;
    let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    Some(Answer {
        status: answer.status().as_u16(),
        content_type: header("content-type").unwrap_or_default(),
        location: header("location"),
        retry_after: header("retry-after"),
        authenticate: header("www-authenticate"),
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}
