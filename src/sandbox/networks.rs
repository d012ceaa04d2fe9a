//! The network of sandboxes that may reach the internet.

use std::collections::HashMap;

use bollard::models::NetworkCreateRequest;
use bollard::query_parameters::InspectNetworkOptions;

use super::error::{is_conflict, is_missing};
use super::{Docker, DockerError};

/// A bridge of its own, on which sandboxes cannot talk to each other.
pub(super) const INTERNET: &str = "rgrid-internet";

impl Docker {
    /// Makes the network unless it is there; several daemons may do so at once.
    pub async fn networks(&self) -> Result<(), DockerError> {
        match self.api.inspect_network(INTERNET, None::<InspectNetworkOptions>).await {
            Ok(_) => return Ok(()),
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(self.failed("inspect a network", error)),
        }
        let no_traffic_between = ("com.docker.network.bridge.enable_icc".to_owned(), "false".to_owned());
        let request = NetworkCreateRequest {
            name: INTERNET.to_owned(),
            driver: Some("bridge".to_owned()),
            options: Some(HashMap::from([no_traffic_between])),
            labels: Some(HashMap::from([("rgrid.network".to_owned(), "internet".to_owned())])),
            ..Default::default()
        };
        match self.api.create_network(request).await {
            Ok(_) => Ok(()),
            Err(error) if is_conflict(&error) => Ok(()),
            Err(error) => Err(self.failed("make a network", error)),
        }
    }
}
