//! `chart`: Helm's chart and what else is YAML in `deploy/`, without a cluster.
//!
//! Owns that the plain file is what the chart renders, and that both are what Kubernetes 1.31 takes.
//! Whether pods run is `k8s`'s to show.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{shell, tools};

pub(crate) const CHART: &str = "deploy/kubernetes/chart";
const RENDERED: &str = "deploy/kubernetes/movies-api.yaml";
/// The version whose schemas the newest rendering is held against.
const KUBERNETES: &str = "1.31";
/// What such a cluster has and Helm does not know without asking one.
const APIS: &[&str] = &["policy/v1/PodDisruptionBudget", "autoscaling/v2/HorizontalPodAutoscaler"];
/// Other renderings, each with settings that switch a part on or off.
const VARIANTS: &[&[&str]] = &[
    &["autoscaling.enabled=false", "networkPolicy.enabled=false", "auth=none"],
    &["forwarding.enabled=true"],
    &["ingress.enabled=true", "ingress.className=nginx", "ingress.tlsSecretName=tls"],
];
/// Templates are no YAML before they are rendered.
const YAML: &[&str] = &[
    ".github",
    "compose.yaml",
    "deploy/docker",
    "deploy/kong",
    "deploy/kubernetes/chart/Chart.yaml",
    "deploy/kubernetes/chart/values.yaml",
    RENDERED,
    "deploy/observability",
];
const YAML_RULES: &str = "{extends: relaxed, rules: {line-length: disable}}";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    ensure!(arguments.is_empty(), "chart takes no arguments");
    let helm = tools::kubernetes_clients()?.join("helm");
    shell::run_command(Command::new(&helm).args(["lint", "--quiet", CHART]))?;
    let rendered = render(&helm, &[])?;
    let shipped = fs::read_to_string(shell::root().join(RENDERED))?;
    ensure!(
        rendered == shipped,
        "{RENDERED} is not what the chart renders: deploy/kubernetes/README.md says how it is made"
    );
    validate(Path::new(RENDERED))?;
    let folder = shell::empty_scratch("chart")?;
    for (number, settings) in VARIANTS.iter().enumerate() {
        let file = folder.join(format!("variant-{number}.yaml"));
        fs::write(&file, render(&helm, settings)?)?;
        validate(&file)?;
    }
    let mut yamllint = Command::new(tools::python("yamllint")?);
    shell::run_command(yamllint.args(["--strict", "--config-data", YAML_RULES]).args(YAML))
}

/// As the README says.
fn render(helm: &Path, settings: &[&str]) -> Result<String> {
    let mut template = Command::new(helm);
    template.args(["template", "movies-api", CHART, "--namespace", "default"]);
    template.args(["--kube-version", KUBERNETES]);
    template.args(APIS.iter().flat_map(|api| ["--api-versions", api]));
    template.args(settings.iter().flat_map(|setting| ["--set", setting]));
    shell::output_of(&mut template).context("the chart cannot be rendered")
}

fn validate(file: &Path) -> Result<()> {
    let mut validate = Command::new(tools::python("kubernetes-validate")?);
    shell::run_command(validate.args(["--strict", "--quiet", "-k", KUBERNETES]).arg(file))
}
