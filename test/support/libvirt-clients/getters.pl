#!/usr/bin/perl
# Every call that only looks, of Sys::Virt: getters.pl URI GUEST-XML. One line each: name, "ok" or the error's number.
use strict;
use warnings;
use Sys::Virt;
use Sys::Virt::Domain;

my ($uri, $file) = @ARGV;
my $conn = Sys::Virt->new(uri => $uri);
open(my $in, '<', $file) or die "$file: $!";
my $xml = do { local $/; <$in> };

sub look {
    my ($name, $work) = @_;
    my @got = eval { $work->() };
    if (my $error = $@) {
        print "$name ", (ref $error ? $error->code : "died: $error"), "\n";
    } else {
        print "$name ok\n";
    }
}

my $dom = $conn->create_domain($xml);
my $stored = $conn->define_domain($xml =~ s{<name>[^<]*</name>}{<name>stored</name>}r);
for my $name (qw(get_uri get_type get_hostname get_version get_library_version get_sysinfo get_capabilities
    get_node_info get_node_free_memory get_node_security_model is_alive is_encrypted is_secure
    num_of_domains num_of_defined_domains num_of_networks num_of_defined_networks num_of_interfaces
    num_of_defined_interfaces num_of_secrets num_of_nwfilters
    list_domains list_defined_domains list_all_domains list_networks list_defined_networks
    list_all_networks list_interfaces list_all_interfaces list_secrets list_all_secrets list_nwfilters list_all_nwfilters
    get_node_cpu_map list_all_node_devices)) {
    look("conn.$name", sub { $conn->$name });
}
for my $name (qw(list_domain_ids list_defined_domain_names list_network_names list_defined_network_names
    list_interface_names list_secret_uuids list_nwfilter_names)) {
    look("conn.$name", sub { $conn->$name(100) });
}
look('conn.get_domain_capabilities', sub { $conn->get_domain_capabilities(undef, 'x86_64', undef, 'qemu') });
look('conn.get_max_vcpus', sub { $conn->get_max_vcpus('qemu') });
look('conn.get_node_cpu_stats', sub { $conn->get_node_cpu_stats(-1) });
look('conn.get_node_memory_stats', sub { $conn->get_node_memory_stats(-1) });
look('conn.get_node_cells_free_memory', sub { $conn->get_node_cells_free_memory(0, 1) });
look('conn.get_node_free_pages', sub { $conn->get_node_free_pages([4], 0, 1) });
look('conn.get_cpu_model_names', sub { $conn->get_cpu_model_names('x86_64') });
look('conn.get_all_domain_stats', sub { $conn->get_all_domain_stats(0) });
look('conn.get_domain_by_name', sub { $conn->get_domain_by_name($dom->get_name) });
look('conn.get_domain_by_uuid', sub { $conn->get_domain_by_uuid($dom->get_uuid) });
look('conn.get_domain_by_id', sub { $conn->get_domain_by_id($dom->get_id) });
for my $name (qw(get_id get_uuid get_uuid_string get_name get_hostname get_time get_info get_state get_control_info
    get_os_type get_max_memory get_max_vcpus get_vcpus get_vcpu_info get_job_info get_job_stats get_autostart is_active
    is_persistent is_updated has_managed_save_image has_current_snapshot num_of_snapshots list_all_snapshots
    list_all_checkpoints get_security_label get_security_label_list get_xml_description get_disk_errors get_fs_info
    get_launch_security_info get_messages)) {
    look("domain.$name", sub { $dom->$name });
    next if $name =~ /^get_(id|info)$/;
    look("stored.$name", sub { $stored->$name });
}
look('domain.get_interface_addresses', sub { $dom->get_interface_addresses(0) });
look('domain.get_metadata', sub { $dom->get_metadata(Sys::Virt::Domain::METADATA_TITLE, undef, 0) });
# 16 bytes of the firmware's end: where an x86 processor begins, a far jump.
look('domain.memory_peek', sub {
    my $bytes = $dom->memory_peek(0xfffffff0, 16, Sys::Virt::Domain::MEMORY_PHYSICAL);
    die 'got ' . unpack('H*', $bytes) unless length $bytes == 16 && ord $bytes == 0xea;
});
$dom->destroy;
$stored->undefine;
