# Parsed with `nix-instantiate --parse flake.nix` (Nix 2.8). Nothing here was evaluated or built:
# that needs nixpkgs from the network, and its first use writes flake.lock.
{
  description = "Aspen: a replicated key-value store on Raft, built inside its own simulator";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" "x86_64-darwin" "aarch64-darwin" ];
      perSystem = build: nixpkgs.lib.genAttrs systems (system: build nixpkgs.legacyPackages.${system});

      # nixpkgs' cargo hook may add `target.*.rustflags`, which replace the `build.rustflags` of
      # .cargo/config.toml. The variables replace both, so the cfg is stated once more here.
      rustFlags = {
        RUSTFLAGS = "--cfg madsim";
        RUSTDOCFLAGS = "--cfg madsim";
      };

      # One binary of the workspace.
      package =
        pkgs: name: description:
        pkgs.rustPlatform.buildRustPackage {
          pname = name;
          version = "0.1.0";
          src = self;
          cargoLock.lockFile = ./Cargo.lock;
          cargoBuildFlags = [ "--package" name ];
          # The simulator's build runs the tests, of all crates; the others need not again.
          cargoTestFlags = [ "--workspace" ];
          doCheck = name == "aspen-sim";
          env = rustFlags;
          meta = {
            inherit description;
            license = with pkgs.lib.licenses; [ mit asl20 ];
            mainProgram = name;
          };
        };

      aspen-sim =
        pkgs:
        package pkgs "aspen-sim" "Runs a real Raft cluster in simulation, judges the run, and explains it";
      aspen-node = pkgs: package pkgs "aspen-node" "A node of an Aspen cluster";
      aspen-cli = pkgs: package pkgs "aspen-cli" "Talks to an Aspen cluster";

      # The package's build with another command in place of build, test and install.
      check =
        pkgs: name: tools: command:
        (aspen-sim pkgs).overrideAttrs (old: {
          pname = "aspen-${name}";
          nativeBuildInputs = old.nativeBuildInputs ++ tools;
          buildPhase = command;
          doCheck = false;
          installPhase = "touch $out";
        });
    in
    {
      packages = perSystem (pkgs: {
        default = aspen-sim pkgs;
        aspen-sim = aspen-sim pkgs;
        aspen-node = aspen-node pkgs;
        aspen-cli = aspen-cli pkgs;
      });

      # The package's own build runs the tests.
      checks = perSystem (pkgs: {
        tests = aspen-sim pkgs;
        fmt = check pkgs "fmt" [ pkgs.rustfmt ] "cargo fmt --all --check";
        clippy =
          check pkgs "clippy" [ pkgs.clippy ]
            "cargo clippy --offline --workspace --all-targets -- -D warnings";
      });

      devShells = perSystem (pkgs: {
        default = pkgs.mkShell {
          packages = with pkgs; [ cargo rustc rustfmt clippy rust-analyzer cargo-nextest git ];
          # Flags from outside would replace those of .cargo/config.toml, which hold in the shell.
          shellHook = "unset RUSTFLAGS RUSTDOCFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_ENCODED_RUSTDOCFLAGS";
        };
      });
    };
}
