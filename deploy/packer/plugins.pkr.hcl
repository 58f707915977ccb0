# For packer 1.10 and later alone: it downloads these with `packer init .`. Debian's packer has the builders built in,
# does not know this block, and is given the file agent-vm.pkr.hcl instead of the folder.
packer {
  required_version = ">= 1.10"
  required_plugins {
    qemu = {
      source  = "github.com/hashicorp/qemu"
      version = "~> 1.1"
    }
    vsphere = {
      source  = "github.com/hashicorp/vsphere"
      version = "~> 1.4"
    }
    proxmox = {
      source  = "github.com/hashicorp/proxmox"
      version = "~> 1.2"
    }
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = "~> 1.3"
    }
  }
}
