# For a tap: libraries come as wheels from the Python package index, because llvmlite takes an hour to compile.
class Tabcast < Formula
  desc "Local code completion: a language server with lossless speculative decoding"
  homepage "https://github.com/tabcast/tabcast"
  url "@URL@/@WHEEL@", using: :nounzip
  sha256 "@WHEEL_SHA256@"
  version "@VERSION@"
  license "Apache-2.0"

  depends_on "python@3.13"

  def install
    system Formula["python@3.13"].opt_bin/"python3.13", "-m", "venv", libexec
    system libexec/"bin/python", "-m", "pip", "install", "#{buildpath}/@WHEEL@"
    bin.install_symlink libexec/"bin/tabcast"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/tabcast --version")
  end
end
