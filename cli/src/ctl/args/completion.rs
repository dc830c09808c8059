//! Options of `completion`.

/// Options of `completion`.
#[derive(Debug, clap::Args)]
pub struct Completion {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// Where the script goes.
pub const HOW: &str = "\
bash:  echo 'source <(caractrl completion bash)' >> ~/.bashrc
zsh:   echo 'source <(caractrl completion zsh)' >> ~/.zshrc
fish:  echo 'caractrl completion fish | source' >> ~/.config/fish/config.fish";
