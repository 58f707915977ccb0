# Images of the agent or of the hub, from a Debian 12 base and a .deb. No identity is in them: docs/images.md.
#
#   Debian's packer:   packer build -only='tunnel.qemu.*' -var-file=site.pkrvars.hcl agent-vm.pkr.hcl
#   packer >= 1.10:    packer init . && packer build -only='tunnel.qemu.*' -var-file=site.pkrvars.hcl .
#
# Builds: tunnel.qemu.vm  tunnel.vsphere-clone.vm  tunnel.proxmox-clone.vm  tunnel.amazon-ebs.vm  tunnel.null.vm

# --- what goes in

variable "deb" {
  type        = string
  description = "The package to install: tunnel-agent_VERSION_ARCH.deb, or for the hub's image tunnel-hub_VERSION_ARCH.deb (make dist)."
  validation {
    condition     = regex_replace(var.deb, "^(.*/)?tunnel-(agent|hub)[^/]*\\.deb$", "") == ""
    error_message = "The variable deb must name a file tunnel-agent....deb or tunnel-hub....deb."
  }
}

variable "name" {
  type        = string
  default     = "tunnel-vm"
  description = "Name of the image."
  validation {
    condition     = regex_replace(var.name, "^[A-Za-z0-9][A-Za-z0-9.-]{0,62}$", "") == ""
    error_message = "The name must be 1 to 63 letters, digits, dots or hyphens."
  }
}

variable "output" {
  type        = string
  default     = "output"
  description = "Folder for the qemu image (made by packer, must not exist)."
}

variable "manifest" {
  type        = string
  default     = "image-manifest.json"
  description = "Where to put the build manifest: what is in the image, with versions and hashes."
}

variable "unattended_upgrades" {
  type        = bool
  default     = true
  description = "Whether machines of this image install Debian's security updates by themselves; needs egress_mirrors."
}

# --- egress: what machines of this image may reach, and nothing else. Addresses, not names.

variable "egress_hubs" {
  type        = list(string)
  description = "Hubs, or the proxy that leads to them: \"ADDRESS[/PREFIX] PORT\"."
  validation {
    condition     = length(var.egress_hubs) == length([for e in var.egress_hubs : e if regex_replace(e, "^[0-9A-Fa-f.:]+(/[0-9]{1,3})? [1-9][0-9]{0,4}$", "") == ""])
    error_message = "Each of egress_hubs must be an address and a port, such as \"203.0.113.10 443\"."
  }
}

variable "egress_upstreams" {
  type        = list(string)
  default     = []
  description = "HTTP APIs that the agent calls: \"ADDRESS[/PREFIX] PORT\"."
  validation {
    condition     = length(var.egress_upstreams) == length([for e in var.egress_upstreams : e if regex_replace(e, "^[0-9A-Fa-f.:]+(/[0-9]{1,3})? [1-9][0-9]{0,4}$", "") == ""])
    error_message = "Each of egress_upstreams must be an address and a port, such as \"10.1.2.3 443\"."
  }
}

variable "egress_dns" {
  type        = list(string)
  default     = []
  description = "Name servers: addresses."
  validation {
    condition     = length(var.egress_dns) == length([for e in var.egress_dns : e if regex_replace(e, "^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$", "") == ""])
    error_message = "Each of egress_dns must be an address, such as \"10.0.0.2\"."
  }
}

variable "egress_ntp" {
  type        = list(string)
  default     = []
  description = "Time servers: addresses. Tokens and signatures go by the clock."
  validation {
    condition     = length(var.egress_ntp) == length([for e in var.egress_ntp : e if regex_replace(e, "^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$", "") == ""])
    error_message = "Each of egress_ntp must be an address, such as \"10.0.0.3\"."
  }
}

variable "egress_mirrors" {
  type        = list(string)
  default     = []
  description = "Debian mirrors, or the proxy that leads to them, for unattended upgrades: \"ADDRESS[/PREFIX] PORT\"."
  validation {
    condition     = length(var.egress_mirrors) == length([for e in var.egress_mirrors : e if regex_replace(e, "^[0-9A-Fa-f.:]+(/[0-9]{1,3})? [1-9][0-9]{0,4}$", "") == ""])
    error_message = "Each of egress_mirrors must be an address and a port, such as \"10.0.0.4 80\"."
  }
}

variable "egress_metadata" {
  type        = bool
  default     = false
  description = "Whether root may ask a cloud's metadata service (169.254.169.254), as cloud-init must on AWS."
}

variable "ingress_ssh" {
  type        = list(string)
  default     = []
  description = "Who may reach this machine's sshd: \"NETWORK PORT\". By default nobody."
  validation {
    condition     = length(var.ingress_ssh) == length([for e in var.ingress_ssh : e if regex_replace(e, "^[0-9A-Fa-f.:]+(/[0-9]{1,3})? [1-9][0-9]{0,4}$", "") == ""])
    error_message = "Each of ingress_ssh must be a network and a port, such as \"10.0.9.0/24 22\"."
  }
}

variable "ingress" {
  type        = list(string)
  default     = []
  description = "Who else may reach which port, \"NETWORK PORT\": for a hub its callers and agents, for both the monitoring."
  validation {
    condition     = length(var.ingress) == length([for e in var.ingress : e if regex_replace(e, "^[0-9A-Fa-f.:]+(/[0-9]{1,3})? [1-9][0-9]{0,4}$", "") == ""])
    error_message = "Each of ingress must be a network and a port, such as \"10.0.0.0/8 8443\"."
  }
}

# --- how packer gets into the machine that it builds

variable "ssh_username" {
  type        = string
  default     = "debian"
  description = "User of the base image who may become root with sudo, or root."
}

variable "ssh_private_key_file" {
  type        = string
  description = "Private key for that user; the public one is taken out of the image again."
}

# --- qemu

variable "base_image_url" {
  type        = string
  default     = ""
  description = "Base image: URL or file of a Debian 12 disk with sshd and cloud-init, such as Debian's genericcloud qcow2."
}

variable "base_image_checksum" {
  type        = string
  default     = ""
  description = "Its checksum: sha256:HEX, sha512:HEX or file:URL."
  validation {
    condition     = regex_replace(var.base_image_checksum, "^(|sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}|file:.+)$", "") == ""
    error_message = "The base_image_checksum must be sha256:HEX, sha512:HEX or file:URL; an unchecked base is not taken."
  }
}

variable "accelerator" {
  type        = string
  default     = "kvm"
  description = "kvm, or tcg where there is none that works (slow)."
  validation {
    condition     = contains(["kvm", "tcg", "hvf"], var.accelerator)
    error_message = "The accelerator must be kvm, tcg or hvf."
  }
}

variable "disk_size" {
  type        = string
  default     = ""
  description = "Size of the image's disk, such as 8G; by default that of the base image."
}

variable "memory" {
  type        = number
  default     = 1024
  description = "MiB of the machine that is built."
}

variable "cpus" {
  type        = number
  default     = 2
  description = "Processors of the machine that is built."
}

variable "seed_directory" {
  type        = string
  default     = "seed"
  description = "Folder with cloud-init's user-data, meta-data and an empty vendor-data for the build (made by make-seed)."
}

variable "qemuargs" {
  type        = list(list(string))
  default     = [["-smbios", "type=1,serial=ds=nocloud-net;s=http://{{ .HTTPIP }}:{{ .HTTPPort }}/"]]
  description = "Further arguments of qemu; the default shows cloud-init the folder seed_directory."
}

# --- vSphere

variable "vsphere" {
  type = object({
    server     = string
    username   = string
    datacenter = string
    cluster    = string
    datastore  = string
    folder     = string
    network    = string
    template   = string
  })
  default = {
    server     = "vcenter.invalid"
    username   = ""
    datacenter = ""
    cluster    = ""
    datastore  = ""
    folder     = ""
    network    = ""
    template   = "debian-12"
  }
  description = "The vCenter to build in, and the Debian 12 template to clone."
}

variable "vsphere_password" {
  type        = string
  default     = ""
  sensitive   = true
  description = "Give it as PKR_VAR_vsphere_password in the environment."
}

# --- Proxmox

variable "proxmox" {
  type = object({
    url      = string
    username = string
    node     = string
    template = string
    storage  = string
    bridge   = string
  })
  default = {
    url      = "https://proxmox.invalid:8006/api2/json"
    username = "packer@pve"
    node     = "pve"
    template = "debian-12"
    storage  = "local-lvm"
    bridge   = "vmbr0"
  }
  description = "The Proxmox cluster to build in, and the Debian 12 template to clone."
}

variable "proxmox_password" {
  type        = string
  default     = ""
  sensitive   = true
  description = "Give it as PKR_VAR_proxmox_password in the environment."
}

# --- AWS (credentials: as the AWS tools find them)

variable "aws" {
  type = object({
    region        = string
    subnet_id     = string
    instance_type = string
    source_ami    = string
  })
  default = {
    region        = "eu-west-2"
    subnet_id     = ""
    instance_type = "t3.small"
    source_ami    = ""
  }
  description = "Where to build; without source_ami the newest Debian 12 of Debian's own account is taken."
}

# --- null: a machine that runs already (tests)

variable "ssh_host" {
  type        = string
  default     = "127.0.0.1"
  description = "Machine that the source null provisions."
}

variable "ssh_port" {
  type        = number
  default     = 22
  description = "Its SSH port."
}

locals {
  environment = [
    "BAKE=/tmp/bake",
    "ROLE=${regex_replace(basename(var.deb), "^tunnel-(agent|hub).*$", "$1")}",
    "HUBS=${join(",", var.egress_hubs)}",
    "UPSTREAMS=${join(",", var.egress_upstreams)}",
    "DNS=${join(",", var.egress_dns)}",
    "NTP=${join(",", var.egress_ntp)}",
    "MIRRORS=${join(",", var.egress_mirrors)}",
    "METADATA=${var.egress_metadata}",
    "SSH=${join(",", var.ingress_ssh)}",
    "INGRESS=${join(",", var.ingress)}",
    "UNATTENDED_UPGRADES=${var.unattended_upgrades}",
  ]
  as_root = "chmod +x {{ .Path }}; if [ \"$(id -u)\" = 0 ]; then env {{ .Vars }} {{ .Path }}; else sudo -n env {{ .Vars }} {{ .Path }}; fi"
}

source "qemu" "vm" {
  iso_url              = var.base_image_url
  iso_checksum         = var.base_image_checksum
  disk_image           = true
  disk_size            = var.disk_size
  skip_resize_disk     = var.disk_size == ""
  format               = "qcow2"
  disk_interface       = "virtio"
  disk_cache           = "unsafe"
  disk_discard         = "unmap"
  disk_detect_zeroes   = "unmap"
  disk_compression     = true
  net_device           = "virtio-net"
  accelerator          = var.accelerator
  headless             = true
  memory               = var.memory
  cpus                 = var.cpus
  http_directory       = var.seed_directory
  qemuargs             = var.qemuargs
  vm_name              = "${var.name}.qcow2"
  output_directory     = var.output
  ssh_username         = var.ssh_username
  ssh_private_key_file = var.ssh_private_key_file
  ssh_timeout          = "15m"
  shutdown_command     = "if [ \"$(id -u)\" = 0 ]; then poweroff; else sudo -n poweroff; fi"
}

source "vsphere-clone" "vm" {
  vcenter_server       = var.vsphere.server
  username             = var.vsphere.username
  password             = var.vsphere_password
  datacenter           = var.vsphere.datacenter
  cluster              = var.vsphere.cluster
  datastore            = var.vsphere.datastore
  folder               = var.vsphere.folder
  network              = var.vsphere.network
  template             = var.vsphere.template
  vm_name              = var.name
  CPUs                 = var.cpus
  RAM                  = var.memory
  convert_to_template  = true
  ssh_username         = var.ssh_username
  ssh_private_key_file = var.ssh_private_key_file
}

source "proxmox-clone" "vm" {
  proxmox_url          = var.proxmox.url
  username             = var.proxmox.username
  password             = var.proxmox_password
  node                 = var.proxmox.node
  clone_vm             = var.proxmox.template
  full_clone           = true
  vm_name              = var.name
  template_name        = var.name
  cores                = var.cpus
  memory               = var.memory
  scsi_controller      = "virtio-scsi-pci"
  ssh_username         = var.ssh_username
  ssh_private_key_file = var.ssh_private_key_file
  network_adapters {
    model  = "virtio"
    bridge = var.proxmox.bridge
  }
}

source "amazon-ebs" "vm" {
  region        = var.aws.region
  subnet_id     = var.aws.subnet_id
  instance_type = var.aws.instance_type
  source_ami    = var.aws.source_ami
  source_ami_filter {
    filters = {
      name                = "debian-12-amd64-*"
      root-device-type    = "ebs"
      virtualization-type = "hvm"
    }
    owners      = ["136693071363"]
    most_recent = true
  }
  ami_name             = "${var.name}-${formatdate("YYYYMMDD-hhmmss", timestamp())}"
  encrypt_boot         = true
  ssh_username         = var.ssh_username
  ssh_private_key_file = var.ssh_private_key_file
}

source "null" "vm" {
  ssh_host             = var.ssh_host
  ssh_port             = var.ssh_port
  ssh_username         = var.ssh_username
  ssh_private_key_file = var.ssh_private_key_file
}

build {
  name    = "tunnel"
  sources = ["source.qemu.vm", "source.vsphere-clone.vm", "source.proxmox-clone.vm", "source.amazon-ebs.vm", "source.null.vm"]

  provisioner "shell" {
    inline = ["rm -rf /tmp/bake", "mkdir -m 0700 /tmp/bake"]
  }
  provisioner "file" {
    source      = var.deb
    destination = "/tmp/bake/"
  }
  provisioner "file" {
    source      = "${path.root}/firstboot"
    destination = "/tmp/bake"
  }
  provisioner "shell" {
    environment_vars = local.environment
    execute_command  = local.as_root
    scripts = [
      "${path.root}/scripts/install.sh",
      "${path.root}/scripts/nftables.sh",
      "${path.root}/scripts/updates.sh",
      "${path.root}/scripts/manifest.sh",
    ]
  }
  provisioner "file" {
    direction   = "download"
    source      = "/usr/share/tunnel-image/manifest.json"
    destination = var.manifest
  }
  provisioner "shell" {
    execute_command = local.as_root
    script          = "${path.root}/scripts/seal.sh"
  }
}
